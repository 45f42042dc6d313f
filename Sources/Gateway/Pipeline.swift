import Batching
import Deduplication
import Filtering
package import GatewayConfiguration
package import GatewayCore
package import Ingest
package import Logging
import Mosquitto
import Platform
import RingJournal
import ServiceLifecycle
import Upstream

/// One route, from broker to destinations. This is the picture:
///
///     field broker
///        │ QoS 1
///     IngestLoop ── one thread ────────────────────────────────────┐
///        │ Intake: scan ▸ identify ▸ window ▸ EdgeFilter ▸ append  │
///        ▼                                                         │ writes the file
///     RING JOURNAL  ◀──────── JournalState: committed, oldest kept, cursors, wake-ups
///        ▲                                                         │ read committed records
///     JournalReader                                                │
///        │ Batcher ▸ EnvelopeEncoder ▸ DeliveryWindow              │
///     SinkLoop ── one thread per sink ─────────────────────────────┘
///        │ QoS 1, batches
///     central broker
///
/// With `isDeliverOnly` the disk can no longer be written. The lower half is the same; the upper
/// half is a thread that opens the journal to be read and keeps its lock, and nothing else:
///
///     ReadOnlyJournal ── one thread ──▶ JournalState: committed, cursors in memory
///
/// Shutdown: the ingest half takes no more, commits and leaves its broker; the sinks deliver what
/// is committed until nothing is left or the limit has come; then the journal and the dead letters
/// are closed. An operator's drain does the same without the limit, and then waits for shutdown. A
/// route that left the configuration is drained, too, and then ends.
package struct Pipeline: Service {
  /// What the threads of a route share once its journal is open.
  struct Opened: Sendable {
    let journal: JournalState
    let control: IngestControl
    let sinks: [SinkControl]
    let deadLetters: DeadLetterStore
    let shutdown: RouteShutdown
  }

  let gateway: GatewayOptions
  let route: RouteOptions
  private let companions: BrokerCompanions
  let status: any StatusReporting
  let logger: Logger
  private let commits: CommitWatch
  private let isDeliverOnly: Bool
  private let sabotage: Sabotage
  /// What an operator's commands see and steer of it.
  private let handle: RouteHandle

  /// What a shutdown leaves for the last deliveries; below systemd's stop time-out.
  package static let drainLimit: Duration = .seconds(5)

  package init(
    gateway: GatewayOptions, route: RouteOptions, companions: BrokerCompanions,
    status: any StatusReporting, logger: Logger, commits: CommitWatch, handle: RouteHandle,
    isDeliverOnly: Bool, sabotage: Sabotage
  ) {
    self.commits = commits
    self.handle = handle
    self.isDeliverOnly = isDeliverOnly
    self.gateway = gateway
    self.route = route
    self.companions = companions
    self.status = status
    var logger = logger
    logger[metadataKey: "route"] = "\(route.name)"
    self.logger = logger
    self.sabotage = sabotage
    status.report(ingestStage, StageState(.starting))
    for sink in route.sinks { status.report(stage(of: sink), StageState(.starting)) }
  }

  var ingestStage: StageName { StageName(route: route.name, part: .ingest) }

  private func stage(of sink: SinkOptions) -> StageName {
    StageName(route: route.name, part: .upstream(sink: sink.name))
  }

  /// Runs until shutdown; a route that left the configuration, until it is drained.
  /// - Throws: `JournalError` when the journal cannot be opened or fails.
  package func run() async throws {
    let (announcements, announce) = AsyncStream<Opened>.makeStream(
      bufferingPolicy: .bufferingNewest(1))
    let opening = Opening()
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        defer { announce.finish() }
        try await Thread.run(name: "in:\(route.name)") {
          if isDeliverOnly {
            try keepReadOnly(opening) { announce.yield($0) }
          } else {
            try ingest(opening) { announce.yield($0) }
          }
        }
      }
      guard let opened = await opening.first(of: announcements) else {
        // The journal did not open; the thread's error says why.
        return try await group.waitForAll()
      }
      try await withTaskCancellationHandler {
        try await withGracefulShutdownHandler {
          handle.opened(opened)
          try await deliver(opened, in: &group)
          if handle.isRemoved {
            leave(opened)
          } else if opened.control.isDraining {
            await stayDrained()
          }
        } onGracefulShutdown: {
          opened.control.advance(to: .quiesce)
          opened.shutdown.stopping()
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
        defer { opened.shutdown.ended(sink: index) }
        repeat {
          // A reload may have changed its options.
          let now = handle.route
          try await Thread.run(name: "out:\(sink.name)") {
            try deliver(to: now.sinks[index], over: now.sinkBrokers[index], index, opened)
          }
        } while opened.sinks[index].takeOver()
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

  /// Everything of this route is done; the process goes on until somebody ends it.
  private func stayDrained() async {
    handle.drained()
    // A reload may have removed it just before.
    guard !handle.isRemoved else { return }
    status.report(
      ingestStage,
      StageState(.drained, "drained by an operator: restart the gateway to receive again"))
    logger.notice("drained: everything is delivered and the journal is closed")
    try? await gracefulShutdown()
    status.report(ingestStage, StageState(.stopped))
  }

  /// The end of a route that left the configuration.
  private func leave(_ opened: Opened) {
    let journal = opened.journal
    let outstanding = route.sinks.indices.reduce(UInt64(0)) { count, index in
      let acknowledged = journal.acknowledged(index)
      guard route.sinks[index].required, acknowledged < journal.committed else { return count }
      return count + (journal.committed.rawValue - acknowledged.rawValue)
    }
    if Task.isShuttingDownGracefully {
      logger.warning(
        "stopped before the removed route was drained: what is left stays in its journal",
        metadata: ["journal.outstanding": "\(outstanding)"])
    } else {
      handle.drained()
      logger.notice("the removed route is drained and unsubscribed, its files stay")
    }
    status.report(ingestStage, StageState(.stopped))
  }

  private func stop(_ opened: Opened) {
    for sink in opened.sinks { sink.advance(to: .stop) }
    opened.control.advance(to: .close)
  }

  /// What both halves share of a journal that is open.
  func makeOpened(_ journal: JournalState, isReadOnly: Bool) -> Opened {
    let sinks = route.sinks.indices.map { SinkControl(wakeUp: journal.wakeUp(sink: $0)) }
    let shutdown = RouteShutdown(
      sinks: sinks, isRequired: route.sinks.map(\.required), limit: Self.drainLimit)
    let control = IngestControl(wakeUp: journal.writerWakeUp) { shutdown.quiesced() }
    let deadLetters = DeadLetterStore(
      path: route.deadLetterPath, gatewayID: gateway.gatewayID, routeName: route.name,
      capacity: route.sinks.map(\.deadLetterCapacity).max() ?? JournalOptions.capacityMin,
      commitByteCountMax: route.journal.commitByteCountMax, isReadOnly: isReadOnly,
      environment: environment)
    return Opened(
      journal: journal, control: control, sinks: sinks, deadLetters: deadLetters,
      shutdown: shutdown)
  }

  // MARK: - The ingest thread

  private func ingest(_ phase: Opening, _ announce: (Opened) -> Void) throws {
    let deduplication = route.ingest.deduplication
    var rebuild = WindowRebuild(
      DeduplicationWindow(
        capacity: deduplication.window(ringCapacity: route.journal.capacity),
        within: deduplication.contentWithin))
    var quota = route.ingest.sourceQuota.map { _ in SourceQuota() }
    var retained = RetainedMemory()
    let pointers = try IdentityExtractor.pointers(of: deduplication.selector)
    let filter = route.ingest.filter
    var aggregates = try AggregateRebuild(filter.aggregate, behind: pointers)
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
          retained.recover(record, bytes)
          aggregates.recover(record, bytes)
        })
    } catch {
      // A shutdown in the middle of a creation: nothing is open, nothing is left behind.
      guard error.code == .cancelled else { throw error }
      logger.notice("stopped before the journal was created")
      status.report(ingestStage, StageState(.stopped))
      return
    }
    var window = rebuild.finish()
    let aggregator = aggregates.finish(logger: logger)
    window.commit()
    opened.report.log(route: route, rememberedIDCount: window.count, to: logger)
    let writer = opened.takeWriter()
    let journal = writer.state
    commits.watch(journal)
    let shared = makeOpened(journal, isReadOnly: false)
    phase.register(shared.control)
    announce(shared)
    let extractor = try IdentityExtractor(
      selector: deduplication.selector, key: writer.identity.hashKey)
    let intake = Intake(
      options: route.ingest, writer: writer, window: window, extractor: extractor, quota: quota,
      filter: filter.isEmpty
        ? nil : try EdgeFilter(filter, behind: pointers, recovered: aggregator),
      retained: retained, via: Via.name(gateway: gateway.gatewayID, route: route.name),
      sabotage: sabotage)
    let connection = route.ingest.connection
    var clean = connection
    clean.cleanStart = true
    let onVerified = companions.certificates.observer(of: route.source)
    var loop = IngestLoop<MosquittoClient<Intake>>(
      options: route.ingest, intake: intake, control: shared.control, wakeUp: journal.writerWakeUp,
      subscriptions: SubscriptionMemory(path: subscriptionPath), stage: ingestStage,
      status: status, metrics: IngestMetrics(route: route.name), logger: logger,
      sabotage: sabotage, recall: companions.recall(of: route.source),
      makeCleanConnection: { [clean, logger] intake in
        MosquittoClient(options: clean, handler: intake, logger: logger, onVerified: onVerified)
      }
    ) { [logger] intake in
      MosquittoClient(
        options: connection, handler: intake, logger: logger, onVerified: onVerified)
    }
    do {
      try loop.run()
      // The sinks have ended before; after an error they may not have, and the file is left as a
      // crash leaves it.
      try shared.deadLetters.close()
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
    "\(gateway.dataDirectory)/\(route.name)\(SubscriptionMemory.suffix)"
  }

  private var environment: JournalEnvironment {
    var environment = JournalEnvironment.posix
    #if PENSTOCK_SABOTAGE
      if sabotage == .noSync { environment.isSyncDisabled = true }
    #endif
    return environment
  }

  // MARK: - A sink's thread

  private func deliver(
    to sink: SinkOptions, over broker: String, _ index: Int, _ opened: Opened
  ) throws {
    let identity = RouteIdentity(
      gateway: gateway.gatewayID, site: gateway.site, name: route.name)
    let map = sink.topicMap
    let journal = opened.journal
    func makeBatcher(isBeside: Bool) throws(JournalError) -> Batcher {
      Batcher(
        reader: try journal.makeReader(sink: index, isBeside: isBeside),
        journal: journal.identity.id, previous: journal.identity.previous, epoch: journal.epoch,
        route: identity, options: sink.batch, topicMap: { map.apply(to: $0) })
    }
    var logger = logger
    logger[metadataKey: "sink"] = "\(sink.name)"
    let connection = sink.connection
    let onVerified = companions.certificates.observer(of: broker)
    var loop = SinkLoop<MosquittoClient<SinkInbox>>(
      options: sink, route: identity, sink: index, journal: journal,
      batcher: try makeBatcher(isBeside: false), control: opened.sinks[index],
      deadLetters: opened.deadLetters, stage: stage(of: sink),
      status: status, metrics: UpstreamMetrics(route: route.name, sink: sink.name), logger: logger,
      link: companions.link(of: broker), recall: companions.recall(of: broker),
      makeBatcher: { () throws(JournalError) in try makeBatcher(isBeside: true) },
      makeConnection: { [logger] inbox in
        MosquittoClient(
          options: connection, handler: inbox, logger: logger, onVerified: onVerified)
      })
    try loop.run()
  }
}
