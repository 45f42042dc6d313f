// What a stage says about itself. Ingest and Upstream speak these words and know nothing of who
// listens; Observability's status board does (health page, systemd status and watchdog).

/// Which stage speaks: one half of one route.
package struct StageName: Hashable, Sendable, CustomStringConvertible {
  package enum Part: Hashable, Sendable {
    case ingest
    case upstream(sink: String)
  }

  package let route: String
  package let part: Part

  package init(route: String, part: Part) {
    self.route = route
    self.part = part
  }

  /// `telemetry/ingest`, `telemetry/upstream/central`.
  package var description: String {
    switch part {
    case .ingest: "\(route)/ingest"
    case .upstream(let sink): "\(route)/upstream/\(sink)"
    }
  }
}

/// What a stage is doing now.
package struct StageState: Hashable, Sendable {
  package enum Kind: String, Sendable, CaseIterable {
    case starting
    /// The journal file is being zero-filled; may take minutes.
    case creating
    /// The journal is being read after a start.
    case recovering
    case connecting
    /// Working as it should.
    case connected
    /// The ring is full; the session at the broker is kept (`when_full: block`).
    case paused
    /// The disk cannot be written: what the journal holds is delivered, nothing is received.
    case deliverOnly = "deliver-only"
    /// The broker is away; waiting to try again.
    case reconnecting
    /// The broker is there and refuses what we send; sent again after a pause.
    case refused
    /// Disconnected on purpose: the link's `connect_window` is closed.
    case outsideWindow = "outside-window"
    /// Disconnected on purpose: the link's data budget is spent.
    case budgetSpent = "budget-spent"
    /// An operator's drain: nothing more is received, what is journalled is being delivered.
    case quiesced
    /// After an operator's drain: everything is delivered and the journal is closed.
    case drained
    /// Shutting down: delivering what still fits the limit.
    case draining
    case stopped
    /// Gave up for good: the journal is poisoned. The process will exit.
    case failed
  }

  package var kind: Kind
  /// For people: why, and what to do about it. Empty when the kind says it all. No secrets.
  package var detail: String

  package init(_ kind: Kind, _ detail: String = "") {
    self.kind = kind
    self.detail = detail
  }
}

/// Where stages report. Every call is safe from any thread, never blocks for long and never fails.
package protocol StatusReporting: Sendable {
  /// The stage's state from now on. Also counts as progress. Call it when the state changes, not
  /// per message.
  func report(_ stage: StageName, _ state: StageState)

  /// "I am alive": a commit, an idle pass, or another turn of a healthy wait (paused, reconnecting,
  /// recovering, creating). The watchdog is fed only while every ingest stage calls this more often
  /// than the watchdog period. One short lock: call it at most once per pass of the loop.
  func progress(_ stage: StageName)
}

/// Listens to nobody: for tests and one-shot commands.
package struct DiscardedStatus: StatusReporting {
  package init() {}
  package func report(_ stage: StageName, _ state: StageState) {}
  package func progress(_ stage: StageName) {}
}
