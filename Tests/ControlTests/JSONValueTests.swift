// Goal: requests and answers are read as strictly as they are written. Method: round trips, golden
// lines, and what must be refused.

import GatewayCore
import Testing

@testable import Control

@Suite("the control socket's JSON") struct JSONValueTests {
  private func parse(_ text: String) -> JSONValue? {
    let bytes = Array(text.utf8)
    return JSONValue(bytes.span)
  }

  @Test(
    "what is read is written again",
    arguments: [
      "{}", "[]", "null", "true", #"{"a":[1,2.5,-3e9,{"b":null}],"c":"x\"\\\n\u0001é"}"#,
      #"{"n":18446744073709551615}"#,
    ])
  func roundTrip(text: String) throws {
    let value = try #require(parse(text))
    #expect(parse(value.line) == value)
  }

  @Test(
    "what is not exactly one unambiguous text is refused",
    arguments: ["", "{", "{}{}", #"{"a":1,"a":2}"#, "nul", #"{"a":"\ud800"}"#, "[1,]", "\u{0}"])
  func refused(text: String) { #expect(parse(text) == nil) }

  @Test("nesting deeper than any of ours is refused, without a stack that runs over")
  func depth() {
    let deep = String(repeating: "[", count: 1000) + String(repeating: "]", count: 1000)
    #expect(parse(deep) == nil)
  }

  @Test("numbers keep their precision, and what JSON cannot say is null")
  func numbers() {
    let value = JSONValue.object { object in
      object.put("whole", 3.0)
      object.put("part", 0.000_4)
      object.put("none", nil as Double?)
      object.put("infinite", Double.infinity)
      object.put("largest", UInt64.max)
      object.put("time", Duration.microseconds(1_500_250))
      object.put("counts", ["b": 2, "a": 1] as [String: UInt64])
    }
    #expect(
      value.line == #"{"whole":3,"part":0.0004,"none":null,"infinite":null,"#
        + #""largest":18446744073709551615,"time":1.50025,"counts":{"a":1,"b":2}}"#)
    #expect(value["largest"]?.uint64 == .max)
  }
}

@Suite("requests") struct ControlRequestTests {
  @Test(
    "a request survives its line",
    arguments: [
      ControlRequest.status, .stop, .drain(routes: [], endsSession: false),
      .drain(routes: ["a", "b"], endsSession: true),
    ])
  func roundTrip(request: ControlRequest) throws {
    let line = Array(request.json.line.utf8)
    let read = try ControlRequest(line.span)
    #expect(read == request)
  }

  @Test(
    "everything else is refused in words",
    arguments: [
      "", "status", #"{"command":"reboot"}"#, #"{"command":7}"#, "[]",
      #"{"command":"drain","routes":[1]}"#,
    ])
  func refused(text: String) {
    let line = Array(text.utf8)
    #expect(throws: ControlRefusal.self) { _ = try ControlRequest(line.span) }
  }
}
