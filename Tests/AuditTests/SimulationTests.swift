// Goal: the simulator sends what it says it sends, forgets nothing before its PUBACK, and reports
// what brokers refuse.
// Method: real brokers with an independent subscriber; the outbox as a plain value. Cannot show:
// how fast it is.

import GatewayCore
import Mosquitto
import Platform
import PumpTelemetry
import Synchronization
import Testing

@testable import Audit

/// What a subscriber saw, by topic, in order.
private final class Seen: SimulationObserver {
  let byTopic = Mutex<[String: [String]]>([:])
  let sent = Mutex<[String]>([])
  let acknowledgedIDs = Mutex<Set<String>>([])

  func record(_ topic: Span<UInt8>, _ payload: Span<UInt8>) {
    let text = String(decoding: payload)
    let id = text.split(separator: "\"").dropFirst(3).first.map(String.init) ?? text
    let topic = String(decoding: topic)
    byTopic.withLock { $0[topic, default: []].append(id) }
  }

  func willSend(topic: String, id: String, payload: Span<UInt8>) {
    sent.withLock { $0.append(id) }
  }

  func acknowledged(topic: String, id: String) {
    acknowledgedIDs.withLock { _ = $0.insert(id) }
  }

  var ids: Set<String> { byTopic.withLock { Set($0.values.joined()) } }
  var count: Int { byTopic.withLock { $0.values.reduce(0) { $0 + $1.count } } }
}

@Suite("simulated pumps", .enabled(if: BrokerProcess.isAvailable, "mosquitto is not installed"))
struct SimulationTests {
  private func options(
    _ broker: borrowing BrokerProcess, _ change: (inout SimulationOptions) -> Void
  ) -> SimulationOptions {
    var connection = ConnectionOptions(endpoints: [broker.endpoint], clientID: "pumps")
    connection.connectTimeout = .seconds(2)
    var options = SimulationOptions(connection: connection)
    change(&options)
    return options
  }

  private func subscriber(_ broker: borrowing BrokerProcess, _ seen: Seen) throws -> CentralObserver
  {
    let observer = try CentralObserver(
      endpoint: broker.endpoint, clientID: "subscriber", filters: ["pumps/#"]
    ) { seen.record($0, $1) }
    observer.start()
    #expect(observer.wait(timeout: .seconds(10)) { $0.isSubscribed })
    return observer
  }

  @Test("every message arrives in its pump's order, repeats on top", arguments: [1, 3])
  func arrives(connections: Int) throws {
    // Room for a subscriber that is slower than three connections.
    var brokerOptions = BrokerOptions()
    brokerOptions.maxQueuedMessages = 10_000
    var broker = try BrokerProcess(name: "field", options: brokerOptions)
    try broker.start()
    let seen = Seen()
    let observer = try subscriber(broker, seen)
    let simulation = try Simulation(
      options: options(broker) {
        $0.pumpCount = 7
        $0.count = 2000
        $0.repeatShare = 0.1
        $0.connectionCount = connections
      }, observer: seen)
    simulation.start()
    #expect(simulation.wait(timeout: .seconds(30)))
    #expect(simulation.error == nil)
    let counts = simulation.counts
    #expect(counts.sent == 2000)
    #expect(counts.acknowledged == 2000)
    #expect((100...300).contains(counts.repeated))
    #expect(counts.outstanding == 0 && counts.failed == 0 && counts.unheard == 0)
    let total = counts.sent + counts.repeated
    #expect(observer.wait(timeout: .seconds(10)) { $0.messages == total })
    observer.stop()
    #expect(seen.ids.count == 2000)
    #expect(seen.acknowledgedIDs.withLock(\.count) == 2000)
    for ids in seen.byTopic.withLock({ $0 }).values {
      // The first arrivals, repeats left out, are in the order of the counters.
      var known: Set<String> = []
      let first = ids.filter { known.insert($0).inserted }
      #expect(first == first.sorted())
    }
  }

  @Test("over a restart of the broker nothing is lost, and what was in flight is sent again")
  func restart() throws {
    var brokerOptions = BrokerOptions()
    brokerOptions.persistence = true
    brokerOptions.maxQueuedMessages = 100_000
    var broker = try BrokerProcess(name: "field", options: brokerOptions)
    try broker.start()
    let seen = Seen()
    let observer = try subscriber(broker, seen)
    let simulation = try Simulation(
      options: options(broker) {
        $0.pumpCount = 5
        $0.count = 6000
        $0.rate = 3000
        $0.window = 300
      }, observer: seen)
    simulation.start()
    for round in 1...2 {
      let goal = UInt64(round) * 1500
      #expect(simulation.wait(timeout: .seconds(30)) { $0.acknowledged >= goal })
      try broker.restart()
    }
    #expect(simulation.wait(timeout: .seconds(60)))
    #expect(simulation.error == nil)
    #expect(simulation.counts.acknowledged == 6000)
    #expect(simulation.counts.connectionsLost >= 2)
    let missing = { seen.acknowledgedIDs.withLock { $0 }.subtracting(seen.ids).count }
    #expect(observer.wait(timeout: .seconds(20)) { _ in missing() == 0 })
    observer.stop()
    #expect(missing() == 0)
  }

  @Test("a broker that is not there ends the run at once, with a sentence that says what to check")
  func unreachable() throws {
    var broker = try BrokerProcess(name: "field")
    try broker.start()
    let options = options(broker) { $0.count = 1 }
    try broker.terminate()
    let simulation = try Simulation(options: options)
    simulation.start()
    #expect(simulation.wait(timeout: .seconds(10)))
    let error = try #require(simulation.error)
    #expect(error.code == .portClosed)
    #expect(error.description.contains("\(broker.port)"))
  }

  @Test("a publish that the broker refuses is counted with its reason")
  func refused() throws {
    var brokerOptions = BrokerOptions()
    brokerOptions.accessControlList = "topic read #\ntopic write pumps/ND01/#\n"
    var broker = try BrokerProcess(name: "field", options: brokerOptions)
    try broker.start()
    let seen = Seen()
    let observer = try subscriber(broker, seen)
    let simulation = try Simulation(
      options: options(broker) {
        $0.pumpCount = 2
        $0.count = 100
      }, observer: seen)
    simulation.start()
    #expect(simulation.wait(timeout: .seconds(10)))
    observer.stop()
    #expect(simulation.counts.acknowledged == 50)
    #expect(simulation.counts.failed == 50)
    #expect(simulation.counts.lastRefusal == .notAuthorized)
    #expect(seen.acknowledgedIDs.withLock(\.count) == 50)
  }

  @Test("messages that nobody subscribes to are not called acknowledged")
  func unheard() throws {
    var broker = try BrokerProcess(name: "field")
    try broker.start()
    let simulation = try Simulation(options: options(broker) { $0.count = 100 })
    simulation.start()
    #expect(simulation.wait(timeout: .seconds(10)))
    #expect(simulation.counts.unheard == 100)
    #expect(simulation.counts.acknowledged == 0)
  }

  @Test("it keeps the rate, and stops when asked with everything acknowledged")
  func stops() throws {
    var broker = try BrokerProcess(name: "field")
    try broker.start()
    let seen = Seen()
    let observer = try subscriber(broker, seen)
    let simulation = try Simulation(options: options(broker) { $0.rate = 500 }, observer: seen)
    let start = Clock.monotonic()
    simulation.start()
    #expect(simulation.wait(timeout: .seconds(20)) { $0.acknowledged >= 250 })
    #expect(Clock.monotonic().since(start) >= .milliseconds(490))
    simulation.stop()
    #expect(simulation.wait(timeout: .seconds(10)))
    observer.stop()
    #expect(simulation.counts.acknowledged == simulation.counts.sent)
    #expect(simulation.counts.outstanding == 0)
  }

  @Test("a broker that stays away longer than the patience ends the run")
  func patience() throws {
    var broker = try BrokerProcess(name: "field")
    try broker.start()
    let seen = Seen()
    let observer = try subscriber(broker, seen)
    let simulation = try Simulation(
      options: options(broker) {
        $0.rate = 500
        $0.patience = .milliseconds(300)
      }, observer: seen)
    simulation.start()
    #expect(simulation.wait(timeout: .seconds(20)) { $0.acknowledged >= 50 })
    try broker.terminate()
    #expect(simulation.wait(timeout: .seconds(20)))
    #expect(simulation.error?.code == .portClosed)
    observer.stop()
  }
}

@Suite("what a simulated connection owes")
struct SimulationOutboxTests {
  private func message(_ id: Int) -> SimulationOutbox.Message {
    SimulationOutbox.Message(topic: "t", id: "\(id)", payload: [])
  }

  /// Sends everything that waits, under mids from `mid` on; the ids in order.
  private func sendAll(_ outbox: inout SimulationOutbox, mid: Int32) -> [String] {
    var ids: [String] = []
    var mid = mid
    while let send = outbox.next {
      ids.append(send.message.id)
      outbox.published(mid: mid)
      mid += 1
    }
    return ids
  }

  @Test("a lost connection brings back, in order, exactly what was not acknowledged")
  func loss() {
    var outbox = SimulationOutbox(recentMax: 10)
    for id in 1...6 {
      outbox.add(message(id))
      outbox.published(mid: Int32(id))
    }
    #expect(outbox.acknowledged(mid: 2)?.message.id == "2")
    #expect(outbox.acknowledged(mid: 2) == nil)
    #expect(outbox.acknowledged(mid: 1)?.message.id == "1")
    #expect(outbox.connectionLost() == 4)
    #expect(outbox.inFlightCount == 0)
    #expect(outbox.next?.message.id == "3")
    // Lost again after two of them were on their way: the order stays.
    outbox.published(mid: 1)
    outbox.published(mid: 2)
    #expect(outbox.connectionLost() == 2)
    #expect(sendAll(&outbox, mid: 10) == ["3", "4", "5", "6"])
    for mid in Int32(10)...13 { #expect(outbox.acknowledged(mid: mid) != nil) }
    #expect(outbox.isEmpty)
  }

  @Test("a repeat is the message that many back, however often the ring went round")
  func again() {
    var outbox = SimulationOutbox(recentMax: 4)
    for id in 1...11 {
      outbox.add(message(id))
      outbox.published(mid: Int32(id))
    }
    for back in 1...4 {
      outbox.addAgain(back: back)
      #expect(outbox.next?.kind == .again)
      #expect(sendAll(&outbox, mid: Int32(100 + back)) == ["\(12 - back)"])
    }
  }
}
