import Deduplication
import Filtering
import GatewayCore
import Ingest
import Mosquitto
import Platform
import RingJournal

/// What a message costs in the intake, up to its append, without and with each of the things that
/// can be configured in front of it: nanoseconds, commits aside. The rounds of all kinds alternate,
/// so that what else the machine does meets all of them; the median round counts.
enum FilterBenchmark {
  private static let messagesPerCommit = 1000
  private static let commitsPerRound = 20
  private static let rounds = 15

  private struct Kind: Sendable {
    let name: String
    let change: @Sendable (inout IngestOptions) -> Void
  }

  private static let kinds = [
    Kind(name: "nothing configured") { _ in },
    Kind(name: "allow and deny") { options in
      options.allowedTopics = ["pumps/#"]
      options.deniedTopics = ["pumps/+/debug"]
    },
    Kind(name: "source_limits") { options in
      var limit = SourceLimit()
      limit.rate = MessageRate(count: 1_000_000, per: .seconds(1))
      options.sourceLimits = [limit]
    },
    Kind(name: "a dead-band that lets all pass") { options in
      var rule = FieldRule(pointer: "/value")
      rule.key = "/type"
      rule.deadBand = .absolute(0)
      options.filter.fields = [rule]
    },
    Kind(name: "a dead-band that lets none pass") { options in
      var rule = FieldRule(pointer: "/value")
      rule.key = "/type"
      rule.deadBand = .absolute(1e12)
      options.filter.fields = [rule]
    },
    Kind(name: "an aggregate") { options in
      var aggregate = AggregateOptions(every: .seconds(86_400), fields: ["/value"])
      aggregate.key = "/type"
      options.filter.aggregate = aggregate
    },
  ]

  static func run() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-bench-filter")
    let intakes = try kinds.enumerated().map { try intake($1, "\(directory.path)/\($0).journal") }
    var figures = kinds.map { _ in [Double]() }
    var nextID = 0
    for _ in 0..<rounds {
      for index in intakes.indices {
        figures[index].append(try round(intakes[index], &nextID))
      }
    }
    let base = figures[0].median
    Console.line("nanoseconds a message in the intake, 200 bytes, 100 topics, commits aside")
    for (kind, figures) in zip(kinds, figures) {
      Console.line("  \(kind.name): \(figures.median.short), × \((figures.median / base).short)")
    }
  }

  private static func intake(_ kind: Kind, _ path: String) throws -> Intake {
    let connection = ConnectionOptions(
      endpoints: [BrokerEndpoint(host: "127.0.0.1", port: 1)], clientID: "bench")
    var options = IngestOptions(
      connection: connection, subscriptions: ["pumps/#"],
      deduplication: DeduplicationOptions(selector: .json(pointers: ["/messageId"])))
    kind.change(&options)
    var journalOptions = JournalOptions(
      gatewayID: "bench", routeName: "telemetry", sinks: [JournalSink(name: "central")])
    journalOptions.capacity = .mebibytes(64)
    journalOptions.whenFull = .dropOldest
    var environment = JournalEnvironment.posix
    environment.allowsUnsafeFilesystem = true
    let opened = try Journal.open(path: path, options: journalOptions, environment: environment)
    let writer = opened.takeWriter()
    let selector = options.deduplication.selector
    let pointers = try IdentityExtractor.pointers(of: selector)
    let key = writer.identity.hashKey
    return Intake(
      options: options, writer: writer, window: DeduplicationWindow(capacity: 200_000),
      extractor: try IdentityExtractor(selector: selector, key: key),
      filter: options.filter.isEmpty ? nil : try EdgeFilter(options.filter, behind: pointers))
  }

  private static func round(_ intake: Intake, _ nextID: inout Int) throws -> Double {
    let topics = (0..<100).map { Array("pumps/p\($0)/metrics".utf8) }
    let header = MessageHeader(mid: 1, qualityOfService: .atLeastOnce, isRetained: false)
    var nanoseconds = 0.0
    for _ in 0..<commitsPerRound {
      let payloads = (0..<messagesPerCommit).map { index in
        let text =
          #"{"messageId":"ND01-\#(nextID + index)","type":"flow","value":\#(nextID + index).25,"#
        return Array((text + #""note":"\#(String(repeating: "x", count: 120))"}"#).utf8)
      }
      nextID += messagesPerCommit
      intake.refreshRoom()
      let start = Clock.monotonic()
      for index in payloads.indices {
        let topic = topics[index % topics.count]
        let payload = payloads[index]
        intake.received(header, topic: topic.span, payload: payload.span, properties: Span())
      }
      nanoseconds += Double(Clock.monotonic().since(start).nanoseconds)
      _ = try intake.commit()
    }
    return nanoseconds / Double(commitsPerRound * messagesPerCommit)
  }
}
