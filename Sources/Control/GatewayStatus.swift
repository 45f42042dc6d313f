package import GatewayCore

// What a gateway is at, as `status` tells it: made by the running agent, or by a command from the
// journal files of an agent that does not run. Nil is "not known".

package struct GatewayStatus: Sendable, Hashable {
  /// Of the JSON form. A reader of an older one finds every name it knows.
  package static let format = 1

  package enum Source: String, Sendable, Hashable {
    case agent
    /// The agent does not run: read from the files, without a lock.
    case journals
  }

  package var source: Source
  package var version: String
  package var gatewayID: String
  package var time: WallTime
  package var uptime: Duration?
  package var processID: UInt64?
  /// What the agent was started with; a path that this machine's processes can use.
  package var configurationPath: String?
  /// `ok`, `degraded`, `starting` or `unhealthy`.
  package var health: String?
  package var routes: [RouteStatus] = []
  package var certificates: [CertificateStatus] = []
  /// Warnings and errors of late, the oldest first.
  package var problems: [ProblemStatus] = []

  package init(source: Source, version: String, gatewayID: String, time: WallTime) {
    self.source = source
    self.version = version
    self.gatewayID = gatewayID
    self.time = time
  }
}

/// What a stage is doing.
package struct StageReading: Sendable, Hashable {
  /// A `StageState.Kind`.
  package var state: String
  package var detail: String
  package var since: WallTime
  package var inState: Duration
  package var isStalled: Bool

  package init(
    state: String, detail: String, since: WallTime, inState: Duration, isStalled: Bool
  ) {
    self.state = state
    self.detail = detail
    self.since = since
    self.inState = inState
    self.isStalled = isStalled
  }
}

/// Something that was measured several times: how often and how long in all, since the start.
package struct DurationTotal: Sendable, Hashable {
  package var count: UInt64
  package var total: Duration

  package init(count: UInt64, total: Duration) {
    self.count = count
    self.total = total
  }

  /// The mean over what came after `earlier`; nil when nothing came.
  package func mean(since earlier: DurationTotal) -> Duration? {
    guard count > earlier.count, total >= earlier.total else { return nil }
    return (total - earlier.total) / Int64(count - earlier.count)
  }
}

package struct RouteStatus: Sendable, Hashable {
  package enum Phase: String, Sendable, Hashable {
    /// Its journal is not open yet.
    case opening
    case running
    /// An operator's `drain`: receives no more, delivers what it has.
    case draining
    /// All of it is delivered and the journal is closed.
    case drained
    /// On the way out after SIGTERM, or out.
    case stopping
    /// Told from the file.
    case off
  }

  package var name: String
  package var phase: Phase
  package var ingest: StageReading?
  package var journal: JournalStatus?
  package var sinks: [SinkStatus] = []
  /// Why its journal cannot be told about.
  package var problem: String?
  package var receivedCount: UInt64?
  package var duplicateCount: UInt64?
  /// One fdatasync.
  package var syncs: DurationTotal?
  /// From the receipt of a group's oldest message to its PUBACKs.
  package var pubackDelays: DurationTotal?

  package init(name: String, phase: Phase) {
    self.name = name
    self.phase = phase
  }
}

package struct JournalStatus: Sendable, Hashable {
  package var id: String
  package var epoch: String
  package var capacity: ByteCount
  /// Held for a required destination.
  package var used: ByteCount
  package var committed: Sequence
  package var oldestKept: Sequence
  /// Given up since the journal was created, by reason.
  package var lost: [String: UInt64] = [:]
  /// Of the last minute.
  package var recordsPerSecond: Double?
  /// How long the free part lasts at that rate when nothing is delivered.
  package var timeToFull: Duration?
  /// Mean of the last minute.
  package var syncTime: Duration?
  package var pubackDelay: Duration?
  /// Stopped in order; only of a file.
  package var isCleanStop: Bool?

  package init(
    id: String, epoch: String, capacity: ByteCount, used: ByteCount, committed: Sequence,
    oldestKept: Sequence
  ) {
    self.id = id
    self.epoch = epoch
    self.capacity = capacity
    self.used = used
    self.committed = committed
    self.oldestKept = oldestKept
  }
}

package struct SinkStatus: Sendable, Hashable {
  package var name: String
  package var isRequired: Bool
  package var stage: StageReading?
  /// Everything through here is accepted, or told as a gap.
  package var acknowledged: Sequence
  /// Journalled and not accepted.
  package var outstanding: UInt64
  /// What these take of the ring.
  package var backlog: ByteCount?
  /// Age of the oldest of them.
  package var oldestAge: Duration?
  /// Of the last minute.
  package var recordsPerSecond: Double?
  /// Nil also when more comes than goes; see `isFallingBehind`.
  package var timeToDrain: Duration?
  package var isFallingBehind: Bool?
  package var inFlightCount: UInt64?
  package var reconnectCount: UInt64?
  package var deadLetterCount: UInt64?
  /// Told to this destination as gaps since the start, by reason.
  package var gaps: [String: UInt64] = [:]

  package init(
    name: String, isRequired: Bool, acknowledged: Sequence, outstanding: UInt64
  ) {
    self.name = name
    self.isRequired = isRequired
    self.acknowledged = acknowledged
    self.outstanding = outstanding
  }
}

/// A certificate file of the configuration that wants attention.
package struct CertificateStatus: Sendable, Hashable {
  package var path: String
  package var notAfter: WallTime?
  /// What is wrong with it.
  package var warning: String

  package init(path: String, notAfter: WallTime?, warning: String) {
    self.path = path
    self.notAfter = notAfter
    self.warning = warning
  }
}

/// A log line of level warning or above.
package struct ProblemStatus: Sendable, Hashable {
  package var time: WallTime
  package var level: String
  package var message: String
  package var detail: String

  package init(time: WallTime, level: String, message: String, detail: String) {
    self.time = time
    self.level = level
    self.message = message
    self.detail = detail
  }
}
