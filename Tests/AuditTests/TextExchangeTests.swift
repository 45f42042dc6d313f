// Goal: `publish` and `subscribe` deliver every line, tell refusals, and acknowledge what was
// shown. Method: producer and consumer on one real broker. Cannot show: the command line around
// them.

import GatewayCore
import Mosquitto
import Platform
import Synchronization
import Testing

@testable import Audit

@Suite("text over a broker", .enabled(if: BrokerProcess.isAvailable, "mosquitto is not installed"))
struct TextExchangeTests {
  private func connection(_ broker: borrowing BrokerProcess, _ name: String) -> ConnectionOptions {
    var options = ConnectionOptions(endpoints: [broker.endpoint], clientID: name)
    options.cleanStart = true
    options.sessionExpiry = .zero
    options.connectTimeout = .seconds(2)
    return options
  }

  private func publish(
    _ lines: [String], to broker: borrowing BrokerProcess,
    quality: QualityOfService = .atLeastOnce, topic: String = "t/x"
  ) throws -> [ReasonCode] {
    var options = TextProducer.Options(connection: connection(broker, "producer"), topic: topic)
    options.quality = quality
    var reasons: [Int: ReasonCode] = [:]
    try TextProducer(options: options).run(try LineSource(lines)) {
      reasons[$0.number] = $0.reason
    }
    return lines.indices.compactMap { reasons[$0 + 1] }
  }

  /// A broker that keeps the session of `consumer`, which has subscribed once.
  private func sessionOptions(_ broker: borrowing BrokerProcess) -> TextConsumer.Options {
    var options = TextConsumer.Options(
      connection: connection(broker, "consumer"), filters: ["t/#"])
    options.connection.cleanStart = false
    options.connection.sessionExpiry = .seconds(3600)
    return options
  }

  private func receive(_ options: TextConsumer.Options) throws -> [String] {
    let lines = Mutex<[String]>([])
    try TextConsumer(options: options).run(
      message: { _, _, topic, payload, _ in
        let line = "\(String(decoding: topic)) \(String(decoding: payload))"
        lines.withLock { $0.append(line) }
      }, notice: { Issue.record("\($0)") })
    return lines.withLock { $0 }
  }

  /// Leaves a session of `consumer` with a subscription at the broker.
  private func openSession(_ broker: borrowing BrokerProcess) throws {
    let opener = try CentralObserver(
      endpoint: broker.endpoint, clientID: "consumer", filters: ["t/#"]
    ) { _, _ in }
    opener.start()
    #expect(opener.wait(timeout: .seconds(10)) { $0.isSubscribed })
    opener.stop()
  }

  private func makeBroker() throws -> BrokerProcess {
    var options = BrokerOptions()
    options.queuesQoS0 = true
    options.maxQueuedMessages = 10_000
    var broker = try BrokerProcess(name: "central", options: options)
    try broker.start()
    return broker
  }

  @Test(
    "every line arrives in order, written, acknowledged or completed", arguments: [UInt8(0), 1, 2])
  func exchange(quality: UInt8) throws {
    let broker = try makeBroker()
    try openSession(broker)
    let sent = (0..<1500).map { "line \($0)" }
    let quality = try #require(QualityOfService(rawValue: quality))
    let reasons = try publish(sent, to: broker, quality: quality)
    #expect(reasons.count == sent.count)
    let areAccepted = reasons.allSatisfy { $0 == .success }
    #expect(areAccepted)
    var options = sessionOptions(broker)
    options.count = 1500
    let isExact = try receive(options) == sent.map { "t/x \($0)" }
    #expect(isExact)
  }

  @Test("what comes after the last message asked for waits for the next time")
  func resumes() throws {
    let broker = try makeBroker()
    try openSession(broker)
    let sent = (0..<1500).map { "line \($0)" }
    _ = try publish(sent, to: broker)
    var options = sessionOptions(broker)
    var received: [String] = []
    for count in [1, 699, 1, 799] as [UInt64] {
      options.count = count
      received += try receive(options)
    }
    let isExact = received == sent.map { "t/x \($0)" }
    #expect(isExact)
  }

  /// Runs consumers on threads of their own until all that was published has come, then stops them.
  /// What each of them got, as `number quality payload`.
  private func share(
    _ options: [TextConsumer.Options], of broker: borrowing BrokerProcess, lines: [String],
    quality: QualityOfService
  ) throws -> [[String]] {
    let got = Mutex<[[String]]>(options.map { _ in [] })
    let ended = Atomic<Int>(0)
    let change = try WakeUp()
    let consumers = try options.map { try TextConsumer(options: $0) }
    for (index, consumer) in consumers.enumerated() {
      Thread.start(name: "consumer-\(index)") {
        do {
          try consumer.run(
            message: { number, header, _, payload, _ in
              let line =
                "\(number) \(header.qualityOfService.rawValue) \(String(decoding: payload))"
              got.withLock { $0[index].append(line) }
              change.signal()
            }, notice: { Issue.record("\($0)") })
        } catch {
          Issue.record("\(error)")
        }
        ended.add(1, ordering: .releasing)
        change.signal()
      }
    }
    func wait(_ condition: () -> Bool) {
      let deadline = Clock.monotonic() + .seconds(30)
      while !condition() && Clock.monotonic() < deadline {
        _ = Poll.wait(socket: nil, wakeUp: change, timeout: .milliseconds(200))
        change.clear()
      }
      #expect(condition())
    }
    // Each consumer has subscribed when a first line has come to it.
    for _ in 0..<1000 where got.withLock({ $0.contains(where: \.isEmpty) }) {
      _ = try publish(["probe"], to: broker)
      _ = Poll.wait(socket: nil, wakeUp: change, timeout: .milliseconds(20))
      change.clear()
    }
    let reasons = try publish(lines, to: broker, quality: quality)
    #expect(reasons.count == lines.count)
    let isAccepted = reasons.allSatisfy { $0 == .success }
    #expect(isAccepted)
    wait {
      got.withLock { $0.joined().count { !$0.hasSuffix(" probe") } } >= lines.count
    }
    for consumer in consumers { consumer.stop() }
    wait { ended.load(ordering: .acquiring) == consumers.count }
    return got.withLock { $0 }
  }

  @Test("at QoS 2 every line comes once, completed, numbered without a hole")
  func exactlyOnce() throws {
    let broker = try makeBroker()
    var options = TextConsumer.Options(
      connection: connection(broker, "consumer"), filters: ["t/#"])
    options.quality = .exactlyOnce
    let lines = (0..<500).map { "line \($0)" }
    let got = try share([options], of: broker, lines: lines, quality: .exactlyOnce)[0]
    let isNumbered = got.indices.allSatisfy { got[$0].hasPrefix("\($0 + 1) ") }
    #expect(isNumbered)
    let texts = got.filter { !$0.hasSuffix(" probe") }.map { $0.drop { $0 != " " }.dropFirst() }
    let isExact = texts.map(String.init) == lines.map { "2 \($0)" }
    #expect(isExact)
  }

  @Test("the members of a group share the lines: each line goes to one of them")
  func group() throws {
    let broker = try makeBroker()
    let members = (1...3).map { number in
      TextConsumer.Options(
        connection: connection(broker, "member-\(number)"), filters: ["$share/night/t/#"])
    }
    let lines = (0..<600).map { "line \($0)" }
    let got = try share(members, of: broker, lines: lines, quality: .atLeastOnce)
    let shares = got.map { lines in lines.filter { !$0.hasSuffix(" probe") } }
    for share in shares { #expect(share.count > 50) }
    let texts = shares.joined().map { $0.split(separator: " ").dropFirst(2).joined(separator: " ") }
    #expect(texts.count == 600)
    #expect(Set(texts) == Set(lines))
  }

  @Test("a refused message is told with its reason, the others are accepted")
  func refused() throws {
    var brokerOptions = BrokerOptions()
    brokerOptions.accessControlList = "topic write allowed\n"
    var broker = try BrokerProcess(name: "central", options: brokerOptions)
    try broker.start()
    #expect(try publish(["a"], to: broker, topic: "denied") == [.notAuthorized])
    #expect(try publish(["a"], to: broker, topic: "allowed") == [.noMatchingSubscribers])
  }

  @Test("a filter that MQTT does not allow is an error, not a wait")
  func badFilter() throws {
    let broker = try makeBroker()
    var options = TextConsumer.Options(
      connection: connection(broker, "consumer"), filters: ["a/#/b"])
    options.count = 1
    #expect(throws: MosquittoError.self) { _ = try self.receive(options) }
  }
}

@Suite("lines")
struct LineSourceTests {
  private func lines(of bytes: [UInt8]) throws -> [String] {
    let directory = try TemporaryDirectory(prefix: "penstock-lines")
    try File.replace(directory.path + "/lines", with: bytes)
    let source = try LineSource(file: directory.path + "/lines")
    var lines: [String] = []
    var isEnded = false
    while !isEnded {
      if let line = source.take(&isEnded) {
        lines.append(String(decoding: line, as: UTF8.self))
      } else if !isEnded {
        _ = Poll.wait(socket: nil, wakeUp: source.news, timeout: .seconds(5))
        source.news.clear()
      }
    }
    return lines
  }

  @Test("a file of many lines comes whole, though few wait at a time")
  func many() throws {
    let expected = (0..<20_000).map { "line \($0)" }
    let text = expected.joined(separator: "\n")
    #expect(try lines(of: Array(text.utf8)) == expected)
    #expect(try lines(of: Array((text + "\n").utf8)) == expected)
  }

  @Test("empty lines are lines, an empty file has none")
  func empty() throws {
    #expect(try lines(of: []) == [])
    #expect(try lines(of: Array("\n\na".utf8)) == ["", "", "a"])
  }

  @Test("a line over the limit goes on as the next")
  func long() throws {
    let max = LineSource.lineByteCountMax
    let text = String(repeating: "x", count: max + 5) + "\ny"
    #expect(try lines(of: Array(text.utf8)).map(\.utf8.count) == [max, 5, 1])
  }
}
