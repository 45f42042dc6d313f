// Goal: simulated pumps hear commands over a real broker, obey each once, confirm every one, and
// come back to hearing them after a restart. Method: a real broker, an independent sender and an
// independent subscriber. Cannot show: that a gateway's command route brings them there.

import GatewayCore
import Mosquitto
import Platform
import PumpTelemetry
import Synchronization
import Testing

@testable import Audit

/// What came on the pumps' topics, as text.
private final class Heard: Sendable {
  private let messages = Mutex<[(topic: String, payload: String)]>([])

  func record(_ topic: Span<UInt8>, _ payload: Span<UInt8>) {
    let message = (String(decoding: topic), String(decoding: payload))
    messages.withLock { $0.append(message) }
  }

  func of(_ topic: String) -> [String] {
    messages.withLock { $0.filter { $0.topic == topic }.map(\.payload) }
  }

  func confirmations(_ pump: String) -> [String] { of("pumps/\(pump)/confirmations") }
  func last(_ pump: String) -> String { of("pumps/\(pump)/metrics").last ?? "" }
}

@Suite("commands to simulated pumps", .enabled(if: BrokerProcess.isAvailable, "no mosquitto"))
struct SimulatedCommandTests {
  private func send(
    _ broker: borrowing BrokerProcess, to pump: String, _ commands: [String]
  ) throws {
    let connection = ConnectionOptions(endpoints: [broker.endpoint], clientID: "issuer")
    let options = TextProducer.Options(
      connection: connection, topic: "pumps/\(pump)/commands")
    try TextProducer(options: options).run(try LineSource(commands)) { outcome in
      #expect(outcome.reason == .success)
    }
  }

  private func command(
    _ command: String, _ id: String, _ pump: String, rate: Int? = nil, age: Int64 = 0
  ) -> String {
    let issued = WallTime(nanoseconds: Clock.wall().nanoseconds - age * 1_000_000_000)
    let rate = rate.map { ",\"rate\":\($0)" } ?? ""
    return #"{"commandId":"\#(id)","assetId":"\#(pump)","command":"\#(command)"\#(rate),"#
      + #""issuedAt":"\#(issued)"}"#
  }

  private func start(
    _ broker: borrowing BrokerProcess, _ change: (inout SimulationOptions) -> Void
  ) throws -> Simulation {
    var connection = ConnectionOptions(endpoints: [broker.endpoint], clientID: "pumps")
    connection.connectTimeout = .seconds(2)
    var options = SimulationOptions(connection: connection)
    options.obeysCommands = true
    change(&options)
    let connections = UInt64(options.connectionCount)
    let simulation = try Simulation(options: options)
    simulation.start()
    #expect(simulation.wait(timeout: .seconds(20)) { $0.listening == connections })
    return simulation
  }

  private func subscriber(
    _ broker: borrowing BrokerProcess, _ heard: Heard, _ filters: [String]
  ) throws -> CentralObserver {
    let observer = try CentralObserver(
      endpoint: broker.endpoint, clientID: "subscriber", filters: filters
    ) { heard.record($0, $1) }
    observer.start()
    #expect(observer.wait(timeout: .seconds(10)) { $0.isSubscribed })
    return observer
  }

  @Test("each command is obeyed once and confirmed as often as it comes; others go on")
  func obeyed() throws {
    var broker = try BrokerProcess(name: "field")
    try broker.start()
    let heard = Heard()
    let observer = try subscriber(broker, heard, ["pumps/+/confirmations", "pumps/+/metrics"])
    let simulation = try start(broker) {
      $0.pumpCount = 9
      $0.connectionCount = 3
      $0.rate = 300
    }
    let stop = command("stop", "c-1", "ND05")
    try send(broker, to: "ND05", [stop, stop, "{", command("start", "c-2", "ND05", age: 3600)])
    #expect(observer.wait(timeout: .seconds(20)) { _ in heard.confirmations("ND05").count == 4 })
    let answers = heard.confirmations("ND05")
    for answer in answers[..<2] {
      #expect(answer.contains(#""commandId":"c-1","command":"stop","result":"done","timestamp":"#))
    }
    #expect(Set(answers.map { $0.prefix(40) }).count == 4, "each has an id of its own")
    #expect(answers[2].contains(#""commandId":null,"command":null,"result":"refused""#))
    #expect(answers[3].contains(#""result":"refused","reason":"expired""#))
    #expect(
      observer.wait(timeout: .seconds(20)) { _ in heard.last("ND05").contains(#""rotation":0.0"#) })
    #expect(!heard.last("ND04").contains(#""rotation":0.0"#))
    try send(broker, to: "ND05", [command("start", "c-3", "ND05")])
    #expect(
      observer.wait(timeout: .seconds(20)) { _ in
        let last = heard.last("ND05")
        return !last.isEmpty && !last.contains(#""rotation":0.0"#)
      })
    let counts = simulation.counts
    #expect(counts.commands == 2 && counts.commandsRepeated == 1 && counts.commandsRefused == 2)
    simulation.stop()
    #expect(simulation.wait(timeout: .seconds(20)))
    #expect(simulation.counts.confirmations == 5)
    #expect(simulation.counts.outstanding == 0 && simulation.counts.failed == 0)
    observer.stop()
  }

  @Test("a rate that is set makes one pump fast and leaves the others")
  func setRate() throws {
    var broker = try BrokerProcess(name: "field")
    try broker.start()
    let heard = Heard()
    let observer = try subscriber(broker, heard, ["pumps/+/metrics"])
    let simulation = try start(broker) {
      $0.pumpCount = 2
      $0.rate = 2
    }
    try send(broker, to: "ND02", [command("setRate", "c-1", "ND02", rate: 200)])
    #expect(
      observer.wait(timeout: .seconds(20)) { _ in heard.of("pumps/ND02/metrics").count > 400 })
    // Two seconds and something: the other pump has measured a few times.
    #expect((1...20).contains(heard.of("pumps/ND01/metrics").count))
    simulation.stop()
    #expect(simulation.wait(timeout: .seconds(20)))
    observer.stop()
  }

  @Test("after a restart of the broker the pumps hear again, and what they did is not forgotten")
  func restart() throws {
    var broker = try BrokerProcess(name: "field")
    try broker.start()
    let simulation = try start(broker) {
      $0.pumpCount = 3
      $0.rate = 50
    }
    let stop = command("stop", "c-1", "ND01")
    try send(broker, to: "ND01", [stop])
    #expect(simulation.wait(timeout: .seconds(20)) { $0.commands == 1 })
    try broker.restart()
    #expect(simulation.wait(timeout: .seconds(20)) { $0.connectionsLost == 1 && $0.listening == 1 })
    try send(broker, to: "ND01", [stop, command("start", "c-2", "ND01")])
    #expect(
      simulation.wait(timeout: .seconds(20)) { $0.commandsRepeated == 1 && $0.commands == 2 })
    simulation.stop()
    #expect(simulation.wait(timeout: .seconds(20)))
    #expect(simulation.error == nil)
  }

  @Test("ten thousand pumps on four connections announce, measure and hear")
  func many() throws {
    var brokerOptions = BrokerOptions()
    brokerOptions.maxQueuedMessages = 100_000
    var broker = try BrokerProcess(name: "field", options: brokerOptions)
    try broker.start()
    let heard = Heard()
    let observer = try subscriber(broker, heard, ["pumps/+/confirmations"])
    let simulation = try start(broker) {
      $0.pumpCount = 10_000
      $0.connectionCount = 4
      $0.rate = nil
      $0.count = 40_000
    }
    for pump in ["ND10000", "ND01", "ND7777"] {
      try send(broker, to: pump, [command("stop", "c", pump)])
    }
    #expect(
      observer.wait(timeout: .seconds(60)) { _ in
        heard.confirmations("ND10000").count == 1 && heard.confirmations("ND01").count == 1
          && heard.confirmations("ND7777").count == 1
      })
    #expect(simulation.wait(timeout: .seconds(120)))
    #expect(simulation.error == nil)
    // Nobody subscribes to the metrics: 0x10 for every one of them.
    #expect(simulation.counts.sent == 40_000 && simulation.counts.unheard == 40_000)
    observer.stop()
  }

  @Test("each connection gives its pumps their part of the rate, and every pump has its counter")
  func shares() throws {
    var broker = try BrokerProcess(name: "field")
    try broker.start()
    let heard = Heard()
    let observer = try subscriber(broker, heard, ["pumps/#"])
    let plan = try FleetPlan(
      [PumpPlan(id: "a"), PumpPlan(id: "b"), PumpPlan(id: "c")].compactMap { pump in
        var pump = pump
        pump?.count = 10
        return pump
      })
    let simulation = try start(broker) {
      $0.plan = plan
      $0.connectionCount = 2
      $0.rate = 60
    }
    #expect(simulation.wait(timeout: .seconds(30)), "all are silent: the run ends by itself")
    #expect(simulation.counts.sent == 33 && simulation.counts.acknowledged == 33)
    #expect(observer.wait(timeout: .seconds(10)) { $0.messages == 33 })
    for pump in ["a", "b", "c"] { #expect(heard.of("pumps/\(pump)/metrics").count == 10) }
    observer.stop()
  }
}
