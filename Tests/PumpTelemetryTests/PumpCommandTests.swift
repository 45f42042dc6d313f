// Goal: a pump obeys each command once, answers each every time with one result, and refuses what
// is old, malformed or not for it. Method: commands as bytes, answers scanned; a random sequence
// with duplicates against a model. Cannot show: that a real pump stops.

import GatewayCore
import JSONScanning
import Testing

@testable import PumpTelemetry

/// One pump that is told things.
private struct ToldPump: ~Copyable {
  var fleet = PumpFleet(count: 2, seed: 1, run: RunID("r"))
  var reader = PumpCommandReader()
  var now = WallTime(nanoseconds: 1_795_413_600_000_000_000)

  mutating func tell(raw text: String) throws -> (answer: CommandAnswer, json: [String?]) {
    var bytes: [UInt8] = []
    let answer = fleet.obey(
      Array(text.utf8).span, pump: 0, at: now, reader: &reader, to: &bytes)
    let names = ["/result", "/reason", "/commandId", "/command", "/messageId", "/assetId"]
    let json = try PumpFleetTests.fields(String(decoding: bytes, as: UTF8.self), names)
    return (answer, json)
  }

  mutating func tell(
    _ command: String, id: String = "c-1", asset: String = "ND01", rate: String? = nil,
    age: Duration = .seconds(1)
  ) throws -> (answer: CommandAnswer, json: [String?]) {
    let issued = WallTime(nanoseconds: now.nanoseconds - age.nanoseconds)
    let rate = rate.map { ",\"rate\":\($0)" } ?? ""
    return try tell(
      raw: #"{"commandId":"\#(id)","assetId":"\#(asset)","command":"\#(command)"\#(rate),"#
        + #""issuedAt":"\#(issued)"}"#)
  }

  mutating func values() throws -> [Double] {
    let event = PumpFleetTests.event(&fleet)
    return try PumpFleetTests.fields(event, Metric.allCases.map { "/\($0.field)" })
      .map { try #require($0.flatMap(Double.init)) }
  }
}

@Suite("Commands to a pump")
struct PumpCommandTests {
  @Test("a stopped pump measures what a stopped pump measures, a started one comes back")
  func stopAndStart() throws {
    var pump = ToldPump()
    let running = try pump.values()
    let stop = try pump.tell("stop")
    #expect(stop.answer.outcome == .done)
    #expect(stop.json == ["done", nil, "c-1", "stop", "r-ND01-000002", "ND01"])
    #expect(!pump.fleet.isRunning(pump: 0) && pump.fleet.isRunning(pump: 1))
    var values = try pump.values()
    for metric in [Metric.rotation, .current, .flowRate] { #expect(values[metric.rawValue] == 0) }
    var pressures = [values[Metric.pressure.rawValue]]
    for _ in 0..<300 {
      values = try pump.values()
      pressures.append(values[Metric.pressure.rawValue])
    }
    #expect(pressures[0] < running[Metric.pressure.rawValue])
    #expect(pressures[1] < pressures[0] && pressures[5] < pressures[1])
    #expect(values[Metric.pressure.rawValue] == values[Metric.intakePressure.rawValue])
    #expect(
      values[Metric.intakePressure.rawValue] > 1.15 * running[Metric.intakePressure.rawValue])
    #expect(values[Metric.temperature.rawValue] < 0.85 * running[Metric.temperature.rawValue])
    #expect(try pump.tell("start", id: "c-2").answer.outcome == .done)
    #expect(try pump.values()[Metric.rotation.rawValue] > 3000)
    // The same pump that nobody stopped, some readings later: nothing of the stop is left.
    for _ in 0..<600 { values = try pump.values() }
    var twin = PumpFleet(count: 1, seed: 1, run: nil)
    for _ in 0..<902 { _ = PumpFleetTests.event(&twin) }
    let expected = try PumpFleetTests.fields(
      PumpFleetTests.event(&twin), Metric.allCases.map { "/\($0.field)" })
    #expect(values == expected.map { $0.flatMap(Double.init) })
  }

  @Test("setRate says the new rate")
  func setRate() throws {
    var pump = ToldPump()
    #expect(try pump.tell("setRate", rate: "2.5").answer.newRate == 2.5)
    for rate in ["0", "-1", "1001", "0.0001"] {
      let answer = try pump.tell("setRate", id: "r\(rate)", rate: rate)
      #expect(answer.answer.newRate == nil)
      #expect(answer.json[1]?.contains("rate out of range") == true)
    }
    #expect(try pump.tell("setRate", id: "x").json[1]?.contains("needs rate") == true)
    #expect(try pump.tell("setRate", id: "y", rate: "\"2\"").answer.outcome == .refused)
  }

  @Test("what comes again is confirmed again with an id of its own, and not done again")
  func repeated() throws {
    var pump = ToldPump()
    _ = try pump.tell("stop")
    _ = try pump.tell("start", id: "c-2")
    let again = try pump.tell("stop")
    #expect(again.answer.outcome == .repeated)
    #expect(again.json[0] == "done" && again.json[4] == "r-ND01-000003")
    #expect(pump.fleet.isRunning(pump: 0))
    // Also long after it would have been too old.
    pump.now = WallTime(nanoseconds: pump.now.nanoseconds + 3_600_000_000_000)
    let late = try pump.tell(
      raw:
        #"{"commandId":"c-1","assetId":"ND01","command":"stop","issuedAt":"2026-11-23T05:00:00Z"}"#)
    #expect(late.answer.outcome == .repeated && late.json[0] == "done")
    #expect(pump.fleet.isRunning(pump: 0))
  }

  @Test("an answer never changes: a refusal is repeated, also when the clock goes back")
  func refusalRepeated() throws {
    var pump = ToldPump()
    let text =
      #"{"commandId":"c","assetId":"ND01","command":"stop","issuedAt":"2026-11-23T05:58:00Z"}"#
    #expect(try pump.tell(raw: text).json[1] == "expired")
    pump.now = WallTime(nanoseconds: pump.now.nanoseconds - 100_000_000_000)
    let again = try pump.tell(raw: text)
    #expect(again.answer.outcome == .repeated && again.json[1] == "expired")
    #expect(pump.fleet.isRunning(pump: 0))
  }

  @Test("old and future commands are refused")
  func expired() throws {
    var pump = ToldPump()
    #expect(try pump.tell("stop", id: "a", age: .seconds(61)).json[1] == "expired")
    #expect(try pump.tell("stop", id: "b", age: .seconds(-61)).json[1]?.hasPrefix("issued") == true)
    #expect(pump.fleet.isRunning(pump: 0))
    #expect(try pump.tell("stop", id: "c", age: .seconds(-59)).answer.outcome == .done)
    #expect(try pump.tell("start", id: "d", age: .seconds(59)).answer.outcome == .done)
  }

  @Test(
    "malformed commands are refused with the reason",
    arguments: [
      ("", "not JSON from byte 0 on"), ("{", "not JSON"), ("[]", "commandId must be"),
      (#"{"commandId":7}"#, "commandId must be"), (#"{"commandId":""}"#, "commandId must be"),
      (#"{"commandId":"c"}"#, "assetId must be"),
      (#"{"commandId":"c","assetId":"ND01"}"#, "command must be"),
      (#"{"commandId":"c","assetId":"ND01","command":"stop"}"#, "issuedAt must be"),
      (
        #"{"commandId":"c","assetId":"ND01","command":"stop","issuedAt":"now"}"#,
        "issuedAt must be"
      ),
      (#"{"commandId":"c","commandId":"d"}"#, "readers understand differently"),
    ])
  func malformed(text: String, reason: String) throws {
    var pump = ToldPump()
    let answer = try pump.tell(raw: text)
    #expect(answer.answer.outcome == .refused)
    #expect(answer.json[0] == "refused")
    #expect(answer.json[1]?.contains(reason) == true, "\(answer.json)")
    #expect(pump.fleet.isRunning(pump: 0))
  }

  @Test("commands for others, unknown ones and an id used twice are refused")
  func refused() throws {
    var pump = ToldPump()
    #expect(try pump.tell("stop", asset: "ND02").json[1]?.contains("another asset") == true)
    #expect(try pump.tell("explode", id: "b").json[1]?.contains("accepted: stop") == true)
    _ = try pump.tell("stop", id: "c")
    #expect(try pump.tell("start", id: "c").json[1]?.contains("another command") == true)
    #expect(!pump.fleet.isRunning(pump: 0))
    let odd = try pump.tell("stop", id: #"\"\u00e9\\"#)
    #expect(odd.answer.outcome == .done)
    #expect(odd.json[2] == #"\"é\\"#)
  }

  @Test("more commands than can be remembered are refused until the first are too old")
  func tooMany() throws {
    var pump = ToldPump()
    for number in 0..<CommandMemory.countMax {
      #expect(try pump.tell("stop", id: "c\(number)").answer.outcome == .done)
    }
    #expect(try pump.tell("start", id: "more").json[1]?.contains("too many") == true)
    #expect(!pump.fleet.isRunning(pump: 0))
    pump.now = WallTime(nanoseconds: pump.now.nanoseconds + 61_000_000_000)
    #expect(try pump.tell("start", id: "later").answer.outcome == .done)
    // Forgotten by now; if the clock goes back, its time is over all the same.
    pump.now = WallTime(nanoseconds: pump.now.nanoseconds - 61_000_000_000)
    #expect(try pump.tell("stop", id: "c0").json[1] == "expired")
    #expect(pump.fleet.isRunning(pump: 0))
  }

  @Test("with duplicates in any order each command is done once", arguments: 1...20)
  func random(seed: UInt64) throws {
    var generator = SplitMix64(seed: seed)
    var pump = ToldPump()
    var sent: [(id: String, command: String, issuedAt: WallTime)] = []
    var done: Set<String> = []
    for step in 0..<400 {
      pump.now = WallTime(
        nanoseconds: pump.now.nanoseconds + Int64.random(in: -2...5, using: &generator)
          * 1_000_000_000)
      if sent.isEmpty || generator.unit() < 0.5 {
        let command = generator.unit() < 0.5 ? "stop" : "start"
        sent.append(("c\(step)", command, pump.now))
      }
      let choice = sent[Int.random(in: 0..<sent.count, using: &generator)]
      let answer = try pump.tell(
        raw: #"{"commandId":"\#(choice.id)","assetId":"ND01","command":"\#(choice.command)","#
          + #""issuedAt":"\#(choice.issuedAt)"}"#)
      if answer.answer.outcome == .done {
        #expect(done.insert(choice.id).inserted, "\(choice.id) was done twice")
        #expect(pump.fleet.isRunning(pump: 0) == (choice.command == "start"))
      }
      #expect((answer.json[0] == "done") == (answer.json[1] == nil))
    }
    #expect(done.count > 20)
  }

  @Test("a pump knows its topic")
  func topics() {
    let fleet = PumpFleet(count: 3, seed: 1, run: nil)
    #expect(fleet.pump(hearing: "pumps/ND02/commands") == 1)
    #expect(fleet.pump(hearing: "pumps/ND04/commands") == nil)
    #expect(fleet.pump(hearing: "pumps/commands") == nil)
    #expect(fleet.confirmationTopic(pump: 1) == "pumps/ND02/confirmations")
  }
}
