// Goal: a file lays down pumps as documented; what is wrong in it is found, all of it, at its line
// and column. Method: the documented example, and one broken file for each rule.
// Cannot show: that a plan makes a good exercise.

import GatewayCore
import Testing

@testable import PumpTelemetry

@Suite("File of pumps")
struct PumpsFileTests {
  private func errors(_ text: String) -> [String] {
    do {
      _ = try PumpsFile.parse(Array(text.utf8).span, file: "p.json")
      return []
    } catch {
      return error.description.split(separator: "\n").map(String.init)
    }
  }

  @Test("everything that can be laid down is")
  func complete() throws {
    let text = #"""
      {"pumps": [
        {"id": "ND03", "rate": 2.5, "count": 1000,
         "asset": {"type": "t", "operatingSystem": "QNX \"7\"", "version": "2.4.1",
           "ipAddress": "10.20.0.3", "creationDate": "2024-06-19T09:10:01Z",
           "location": {"site": "Grane", "latitude": 59.16, "longitude": 2.49}},
         "patterns": [
           {"metric": "temperature", "pattern": "rise", "start": "60s", "duration": 300,
            "ramp": "30s", "depth": "20%"},
           {"pattern": "spike", "metric": "current", "every": 10, "depth": 12.5}]},
        {"id": "west-7"}]}
      """#
    let plan = try PumpsFile.parse(Array(text.utf8).span, file: "p.json")
    #expect(plan.pumps.map(\.id) == ["ND03", "west-7"])
    #expect(plan.pumps[0].rate == 2.5 && plan.pumps[0].count == 1000)
    let rise = plan.pumps[0].patterns[0]
    #expect(rise.metric == .temperature && rise.shape == .rise)
    #expect(rise.start == .time(.seconds(60)) && rise.duration == .readings(300))
    #expect(rise.ramp == .time(.seconds(30)) && rise.depth == .share(0.2))
    #expect(plan.pumps[0].patterns[1].depth == .amount(12.5))
    #expect(plan.pumps[0].patterns[1].every == 10)
    var fleet = PumpFleet(plan: plan, seed: 1, run: nil)
    let event = PumpFleetTests.event(&fleet, .asset)
    #expect(
      try PumpFleetTests.fields(
        event,
        ["/type", "/operatingSystem", "/location/site", "/location/latitude", "/creationDate"])
        == ["t", #"QNX \"7\""#, "Grane", "59.16000", "2024-06-19T09:10:01.000Z"])
  }

  @Test("a pump is the same in a file and in a number of pumps, wherever it stands")
  func sameStream() throws {
    let text = #"{"pumps": [{"id": "x"}, {"id": "ND02"}, {"id": "ND002"}]}"#
    let plan = try PumpsFile.parse(Array(text.utf8).span, file: "p.json")
    var one = PumpFleet(plan: plan, seed: 5, run: nil)
    var two = PumpFleet(count: 2, seed: 5, run: nil)
    #expect(one.asset(ofPump: 1) == two.asset(ofPump: 1))
    #expect(PumpFleetTests.event(&one, pump: 1) == PumpFleetTests.event(&two, pump: 1))
    #expect(one.asset(ofPump: 2).creationDate != one.asset(ofPump: 1).creationDate)
    var alone = PumpFleet(plan: try FleetPlan([plan.pumps[0]]), seed: 5, run: nil)
    #expect(PumpFleetTests.event(&alone) == PumpFleetTests.event(&one))
  }

  @Test(
    "what is wrong has its line, column and path",
    arguments: [
      ("", "p.json:1:1: is not JSON"),
      ("{\n  \"pumps\": [,]}", "p.json:2:13: is not JSON from here on"),
      ("[]", "p.json:1:1: is not an object"),
      ("{}", "p.json:1:1: has no pumps"),
      ("{\"pumps\": []}", "p.json:1:1: pumps: 0 pumps; accepted: 1 to 10000"),
      ("{\"pumps\": 7}", "p.json:1:11: pumps: is not a list"),
      ("{\"pumps\": [7]}", "p.json:1:12: pumps[0]: is not an object"),
      ("{\"pumps\": [{}]}", "p.json:1:12: pumps[0].id: is required"),
      ("{\"pumps\": [{\"id\": \"a b\"}]}", "p.json:1:19: pumps[0].id: \"a b\" is not accepted"),
      ("{\"pumps\": [{\"id\": 3}]}", "p.json:1:19: pumps[0].id: is not a text"),
      (
        "{\"pumps\": [{\"id\": \"é\"},\n {\"id\": \"é\", \"x\": 1}]}",
        "p.json:2:14: pumps[1].x: is not known; accepted: id, rate, count, asset, patterns"
      ),
      (
        "{\"pumps\": [{\"id\":\"a\"},\n{\"id\":\"a\"}]}",
        "p.json:2:7: pumps[1].id: another pump has"
      ),
      ("{\"pumps\": [{\"id\":\"a\",\"id\":\"b\"}]}", "p.json:1:22: pumps[0].id: stands here twice"),
      ("{\"pumps\": [{\"id\":\"a\",\"rate\":0}]}", "p.json:1:29: pumps[0].rate: is not accepted"),
      ("{\"pumps\": [{\"id\":\"a\",\"count\":1.5}]}", "p.json:1:30: pumps[0].count: is not"),
      (
        "{\"pumps\": [{\"id\":\"a\",\"asset\":{\"location\":{\"latitude\":91}}}]}",
        "p.json:1:54: pumps[0].asset.location.latitude: is not accepted; accepted: degrees"
      ),
      (
        "{\"pumps\": [{\"id\":\"a\",\"asset\":{\"creationDate\":\"today\"}}]}",
        "p.json:1:46: pumps[0].asset.creationDate: \"today\" is not accepted"
      ),
      (
        "{\"pumps\": [{\"id\":\"a\",\"patterns\":[{\"metric\":\"heat\"}]}]}",
        "p.json:1:44: pumps[0].patterns[0].metric: \"heat\" is not accepted; accepted: rotation"
      ),
      (
        "{\"pumps\": [{\"id\":\"a\",\"patterns\":[{\"metric\":\"current\"}]}]}",
        "p.json:1:34: pumps[0].patterns[0].pattern: is required; accepted: normal, drop"
      ),
      (
        "{\"pumps\": [{\"id\":\"a\",\"patterns\":[{\"pattern\":\"rise\",\"metric\":\"current\","
          + "\"depth\":\"much\"}]}]}",
        "p.json:1:79: pumps[0].patterns[0].depth: \"much\" is not accepted; accepted: a share"
      ),
      (
        "{\"pumps\": [{\"id\":\"a\",\"patterns\":[{\"pattern\":\"stuck\",\"metric\":\"current\","
          + "\"depth\":3}]}]}",
        "p.json:1:34: pumps[0].patterns[0]: stuck has no depth"
      ),
    ])
  func broken(text: String, message: String) {
    let errors = errors(text)
    #expect(errors.contains { $0.hasPrefix(message) }, "\(errors)")
  }

  @Test("all that is wrong is said at once, in the order of the file")
  func all() {
    let errors = errors(
      "{\"pumps\": [{\"id\": 1, \"rate\": -1},\n{\"id\": \"b\", \"count\": \"x\", \"z\": {}}]}")
    #expect(errors.count == 4, "\(errors)")
    #expect(errors == errors.sorted())
  }

  @Test("ten thousand pumps and no more")
  func limit() throws {
    func file(_ count: Int) -> String {
      "{\"pumps\":[" + (1...count).map { "{\"id\":\"p\($0)\"}" }.joined(separator: ",") + "]}"
    }
    let plan = try PumpsFile.parse(Array(file(10_000).utf8).span, file: "p.json")
    #expect(plan.pumps.count == 10_000)
    #expect(errors(file(10_001)).first?.contains("one too many") == true)
  }
}
