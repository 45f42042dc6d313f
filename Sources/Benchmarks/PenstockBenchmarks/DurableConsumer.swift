import Deduplication
import GatewayCore
import Ingest
import Logging
import Mosquitto
import Platform
import RingJournal

/// The ingest half of a route as a process of its own: broker → journal, nothing delivered.
///
///   consume-durable PORT FILTER COUNT DIRECTORY
///
/// Prints "ready" when subscribed, then, when COUNT messages are committed, the same line as
/// bare-subscriber: messages, seconds, CPU seconds; and the peak resident memory in KiB. All are
/// counted from the first commit on, so that both programs measure a running stream.
enum DurableConsumer {
  static func run(_ arguments: [String]) throws {
    guard arguments.count == 4, let port = UInt16(arguments[0]), let count = UInt64(arguments[2])
    else { throw BenchmarkError("consume-durable PORT FILTER COUNT DIRECTORY") }
    var connection = ConnectionOptions(
      endpoints: [BrokerEndpoint(host: "127.0.0.1", port: port)], clientID: "durable")
    connection.receiveMaximum = 900
    let options = IngestOptions(
      connection: connection, subscriptions: [arguments[1]],
      deduplication: DeduplicationOptions(selector: .json(pointers: ["/messageId"])))
    let journalOptions = JournalOptions(
      gatewayID: "bench", routeName: "telemetry", sinks: [JournalSink(name: "central")])
    var window = DeduplicationWindow(
      capacity: options.deduplication.window(ringCapacity: journalOptions.capacity))
    let opened = try Journal.open(
      path: "\(arguments[3])/telemetry.journal", options: journalOptions,
      progress: { _ in },
      recovered: { record, _ in window.insert(record.idHash, digest: record.payloadDigest) })
    window.commit()
    let writer = opened.takeWriter()
    let journal = writer.state
    let intake = Intake(
      options: options, writer: writer, window: window,
      extractor: try IdentityExtractor(
        selector: options.deduplication.selector, key: journal.identity.hashKey))
    let control = IngestControl(wakeUp: journal.writerWakeUp)
    watch(journal, count: count, control: control)
    var loop = IngestLoop<MosquittoClient<Intake>>(
      options: options, intake: intake, control: control, wakeUp: journal.writerWakeUp,
      subscriptions: SubscriptionMemory(path: "\(arguments[3])/telemetry.subscriptions"),
      stage: StageName(route: "telemetry", part: .ingest), status: ReadySignal(),
      metrics: IngestMetrics(route: "telemetry"), logger: Logger(label: "bench")
    ) { intake in
      MosquittoClient(options: connection, handler: intake, logger: Logger(label: "bench"))
    }
    try loop.run()
  }

  /// Looks at the committed sequence after each commit, as a delivery thread does.
  private static func watch(_ journal: JournalState, count: UInt64, control: IngestControl) {
    let before = journal.committed
    Thread.start(name: "watch") {
      var first: (committed: UInt64, at: MonotonicTime, cpu: Double)?
      while true {
        let committed = journal.committed.count(since: before)
        if committed > 0 && first == nil {
          first = (committed, Clock.monotonic(), Usage.processSeconds())
        }
        if committed >= count, let first {
          let elapsed = seconds(since: first.at)
          let cpu = Usage.processSeconds() - first.cpu
          Console.line(
            "\(committed - first.committed) \(elapsed) \(cpu) \((try? Usage.status("VmHWM")) ?? 0)")
          control.advance(to: .close)
          return
        }
        let wakeUp = journal.wakeUp(sink: 0)
        if Poll.wait(socket: nil, wakeUp: wakeUp, timeout: .seconds(1)).wokenUp { wakeUp.clear() }
      }
    }
  }
}

/// Tells the parent when the subscription stands.
private struct ReadySignal: StatusReporting {
  func report(_ stage: StageName, _ state: StageState) {
    if state.kind == .connected { Console.line("ready") }
  }
  func progress(_ stage: StageName) {}
}
