import Batching
import Deduplication
package import GatewayConfiguration
package import GatewayCore
package import Ingest
package import Logging
import Mosquitto
import Platform
import RingJournal
import ServiceLifecycle
import Synchronization
import Upstream

/// One route, from broker to destinations. This is the picture:
///
///     field broker
///        │ QoS 1
///     IngestLoop ── one thread ────────────────────────────────────┐
///        │ Intake: scan ▸ identify ▸ DeduplicationWindow ▸ append  │
///        ▼                                                         │ writes the file
///     RING JOURNAL  ◀──────── JournalState: committed, oldest kept, cursors, wake-ups
///        ▲                                                         │ read committed records
///     JournalReader                                                │
///        │ Batcher ▸ EnvelopeEncoder ▸ DeliveryWindow              │
///     SinkLoop ── one thread per sink ─────────────────────────────┘
///        │ QoS 1, batches
///     central broker
///
/// Shutdown: the ingest half takes no more, commits and leaves its broker; the sinks deliver what
/// is committed until nothing is left or the limit has come; then the journal and the dead letters
/// are closed.
package struct Pipeline: Service {
  /// What the threads of a route share once its journal is open.
  private struct Opened: Sendable {
    let journal: JournalState
    let id: JournalID
    let epoch: Epoch
    let control: IngestControl
    let sinks: [SinkControl]
    let deadLetters: DeadLetterStore
  }

  /// The time in which the ingest thread opens the journal and nobody else has anything of it yet:
  /// what a shutdown or the failure of another route has to say to it.
  private final class Opening: Sendable {
    private struct Contents {
      var isCancelled = false
      var isAbandoned = false
      var control: IngestControl?
    }

    private let contents = Mutex(Contents())

    /// Whether a creation is to be cut short.
    var isCancelled: Bool { contents.withLock { $0.isCancelled } }

    /// The one announcement; nil when it does not come, or when nobody waits for it any more.
    func first(of announcements: AsyncStream<Opened>) async -> Opened? {
      let opened = await withGracefulShutdownHandler {
        await announcements.first { _ in true }
      } onGracefulShutdown: {
        self.contents.withLock { $0.isCancelled = true }
      }
      if opened == nil { abandon() }
      return opened
    }

    /// The thread has what it is steered by.
    func register(_ control: IngestControl) {
      let isAbandoned = contents.withLock { contents in
        contents.control = control
        return contents.isAbandoned
      }
      if isAbandoned { control.advance(to: .close) }
    }

    /// A cancelled task gets no announcement: the thread must not wait for somebody to steer it.
    private func abandon() {
      let control = contents.withLock { contents in
        contents.isCancelled = true
        contents.isAbandoned = true
        return contents.control
      }
      control?.advance(to: .close)
    }
  }

  private let gateway: GatewayOptions
  private let route: RouteOptions
  private let status: any StatusReporting
  private let logger: Logger
  private let sabotage: Sabotage

  /// What a shutdown leaves for the last deliveries; below systemd's stop time-out.
  package static let drainLimit: Duration = .seconds(5)

  package init(
    gateway: GatewayOptions, route: RouteOptions, status: any StatusReporting, logger: Logger,
    sabotage: Sabotage
  ) {
    self.gateway = gateway
    self.route = route
    self.status = status
    var logger = logger
    logger[metadataKey: "route"] = "\(route.name)"
    self.logger = logger
    self.sabotage = sabotage
    status.report(ingestStage, StageState(.starting))
    for sink in route.sinks { status.report(stage(of: sink), StageState(.starting)) }
  }

  private var ingestStage: StageName { StageName(route: route.name, part: .ingest) }

  private func stage(of sink: SinkOptions) -> StageName {
    StageName(route: route.name, part: .upstream(sink: sink.name))
  }

  /// Runs until shutdown.
  /// - Throws: `JournalError` when the journal cannot be opened or fails.
  package func run() async throws {
    let (announcements, announce) = AsyncStream<Opened>.makeStream(
      bufferingPolicy: .bufferingNewest(1))
    let opening = Opening()
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        defer { announce.finish() }
        try await Thread.run(name: "in:\(route.name)") {
          try ingest(opening) { announce.yield($0) }
        }
      }
      guard let opened = await opening.first(of: announcements) else {
        // The journal did not open; the thread's error says why.
        return try await group.waitForAll()
      }
      try await withTaskCancellationHandler {
        try await withGracefulShutdownHandler {
          try await deliver(opened, in: &group)
        } onGracefulShutdown: {
          opened.control.advance(to: .quiesce)
        }
      } onCancel: {
        stop(opened)
      }
    }
  }

  private func deliver(
    _ opened: Opened, in group: inout ThrowingTaskGroup<Void, any Error>
  ) async throws {
    for (index, sink) in route.sinks.enumerated() {
      group.addTask {
        try await Thread.run(name: "out:\(sink.name)") { try deliver(to: sink, index, opened) }
      }
    }
    // The sinks end when drained; the ingest thread only after them. An error ends all.
    do {
      for _ in route.sinks.indices { try await group.next() }
      opened.control.advance(to: .close)
      try await group.waitForAll()
    } catch {
      stop(opened)
      throw error
    }
  }

  private func stop(_ opened: Opened) {
    for sink in opened.sinks { sink.advance(to: .stop) }
    opened.control.advance(to: .close)
  }

  // MARK: - The ingest thread

  private func ingest(_ phase: Opening, _ announce: (Opened) -> Void) throws {
    let deduplication = route.ingest.deduplication
    var rebuild = WindowRebuild(
      DeduplicationWindow(
        capacity: deduplication.window(ringCapacity: route.journal.capacity),
        within: deduplication.contentWithin))
    var quota = route.ingest.sourceQuota.map { _ in SourceQuota() }
    var lastProgress = Clock.monotonic()
    var recoveredCount: UInt64 = 0
    let opening = (monotonic: lastProgress, wall: Clock.wall())
    status.report(ingestStage, StageState(.recovering))
    let opened: OpenedJournal
    do throws(JournalError) {
      opened = try Journal.open(
        path: route.journalPath, options: route.journal, environment: environment,
        progress: { progress in
          let now = Clock.monotonic()
          guard now.since(lastProgress) >= .seconds(1) else { return }
          lastProgress = now
          let state = "\(progress.written) of \(progress.total) written"
          status.report(ingestStage, StageState(.creating, state))
          logger.notice("creating the journal", metadata: ["journal.progress": "\(state)"])
        },
        isCancelled: { phase.isCancelled },
        recovered: { record, bytes in
          recoveredCount += 1
          if recoveredCount.isMultiple(of: 256) {
            let now = Clock.monotonic()
            if now.since(lastProgress) >= .seconds(1) {
              lastProgress = now
              status.progress(ingestStage)
            }
          }
          remember(record, in: &rebuild, opening: opening)
          quota?.recover(record, bytes)
        })
    } catch {
      // A shutdown in the middle of a creation: nothing is open, nothing is left behind.
      guard error.code == .cancelled else { throw error }
      logger.notice("stopped before the journal was created")
      status.report(ingestStage, StageState(.stopped))
      return
    }
    var window = rebuild.finish()
    window.commit()
    log(opened.report, rememberedIDCount: window.count)
    let writer = opened.takeWriter()
    let journal = writer.state
    let sinks = route.sinks.indices.map { SinkControl(wakeUp: journal.wakeUp(sink: $0)) }
    let control = IngestControl(wakeUp: journal.writerWakeUp) {
      let until = Clock.monotonic() + Self.drainLimit
      for sink in sinks { sink.advance(to: .drain(until: until)) }
    }
    phase.register(control)
    let deadLetters = DeadLetterStore(
      path: route.deadLetterPath, gatewayID: gateway.gatewayID, routeName: route.name,
      capacity: route.sinks.map(\.deadLetterCapacity).max() ?? JournalOptions.capacityMin,
      commitByteCountMax: route.journal.commitByteCountMax, environment: environment)
    announce(
      Opened(
        journal: journal, id: writer.identity.id, epoch: writer.epoch, control: control,
        sinks: sinks, deadLetters: deadLetters))
    let extractor = try IdentityExtractor(
      selector: deduplication.selector, key: writer.identity.hashKey)
    let intake = Intake(
      options: route.ingest, writer: writer, window: window, extractor: extractor, quota: quota,
      sabotage: sabotage)
    let connection = route.ingest.connection

    var loop = IngestLoop<MosquittoClient<Intake>>(
      options: route.ingest, intake: intake, control: control, wakeUp: journal.writerWakeUp,
      subscriptions: SubscriptionMemory(path: subscriptionPath), stage: ingestStage,
      status: status, metrics: IngestMetrics(route: route.name), logger: logger,
      sabotage: sabotage
    ) { intake in MosquittoClient(options: connection, handler: intake, logger: logger) }
    do {
      try loop.run()
      // The sinks have ended before; after an error they may not have, and the file is left as a
      // crash leaves it.
      try deadLetters.close()
    } catch {
      status.report(ingestStage, StageState(.failed, "\(error)"))
      throw error
    }
  }

  /// Content identifies a message for some seconds only: its age counts from its receipt, by the
  /// wall clock, because the machine may have been off in between.
  private func remember(
    _ record: JournalRecord, in rebuild: inout WindowRebuild,
    opening: (monotonic: MonotonicTime, wall: WallTime)
  ) {
    guard let within = route.ingest.deduplication.contentWithin else {
      return rebuild.insert(record.idHash, digest: record.payloadDigest)
    }
    let age = max(0, opening.wall.nanoseconds - record.received.nanoseconds)
    guard age < within.nanoseconds else { return }
    rebuild.insert(
      record.idHash, digest: record.payloadDigest,
      at: MonotonicTime(nanoseconds: opening.monotonic.nanoseconds - age))
  }

  private var subscriptionPath: String {
    "\(gateway.dataDirectory)/\(route.name).subscriptions"
  }

  private var environment: JournalEnvironment {
    var environment = JournalEnvironment.posix
    #if PENSTOCK_SABOTAGE
      if sabotage == .noSync { environment.isSyncDisabled = true }
    #endif
    return environment
  }

  private func log(_ report: RecoveryReport, rememberedIDCount: Int) {
    for warning in report.warnings {
      logger.warning("journal", metadata: ["journal.warning": "\(warning)"])
    }
    var metadata: Logger.Metadata = [
      "journal.path": "\(route.journalPath)", "journal.created": "\(report.isCreated)",
      "journal.clean_stop": "\(report.wasCleanStop)",
      "journal.records": "\(report.keptRecordCount)",
      "journal.remembered_ids": "\(rememberedIDCount)",
      "journal.scanned": "\(report.scanned)", "journal.seconds": "\(report.duration.seconds)",
    ]
    if report.tornTailCount > 0 { metadata["journal.torn_tail"] = "\(report.tornTailCount)" }
    logger.notice("journal open", metadata: metadata)
    if report.repairedBlockCount + report.unreadableBlockCount > 0 {
      logger.warning(
        "the disk shows damage",
        metadata: [
          "journal.repaired_blocks": "\(report.repairedBlockCount)",
          "journal.unreadable_blocks": "\(report.unreadableBlockCount)",
        ])
    }
    if !report.droppedSinks.isEmpty {
      logger.warning(
        "a destination left the configuration, its cursor and what it had not received are dropped",
        metadata: ["journal.dropped_sinks": "\(report.droppedSinks.joined(separator: " "))"])
    }
    if !report.isCreated && !report.newSinks.isEmpty {
      logger.notice(
        "a new destination begins where its `start` says",
        metadata: ["journal.new_sinks": "\(report.newSinks.joined(separator: " "))"])
    }
    guard !report.corruptRanges.isEmpty else { return }
    logger.error(
      "committed records cannot be read any more; a gap tells the centre",
      metadata: [
        "journal.lost_records": "\(report.lostRecordCount)",
        "journal.quarantined": "\(report.quarantined)",
        "journal.ranges": "\(report.corruptRanges.count)",
      ])
  }

  // MARK: - A sink's thread

  private func deliver(to sink: SinkOptions, _ index: Int, _ opened: Opened) throws {
    let identity = RouteIdentity(
      gateway: gateway.gatewayID, site: gateway.site, name: route.name)
    let map = sink.topicMap
    let batcher = Batcher(
      reader: try opened.journal.makeReader(sink: index), journal: opened.id, epoch: opened.epoch,
      route: identity, options: sink.batch, topicMap: { map.apply(to: $0) },
      wallClock: { Clock.wall() })
    var logger = logger
    logger[metadataKey: "sink"] = "\(sink.name)"
    let connection = sink.connection
    var loop = SinkLoop<MosquittoClient<SinkInbox>>(
      options: sink, route: identity, sink: index, journal: opened.journal, batcher: batcher,
      control: opened.sinks[index], deadLetters: opened.deadLetters, stage: stage(of: sink),
      status: status, metrics: UpstreamMetrics(route: route.name, sink: sink.name), logger: logger
    ) { [logger] inbox in
      MosquittoClient(options: connection, handler: inbox, logger: logger)
    }
    try loop.run()
  }
}
