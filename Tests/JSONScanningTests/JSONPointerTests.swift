// Goal: pointers follow RFC 6901. Method: the document of its section 5, edge cases, and
// duplicates.

import GatewayCore
import JSONScanning
import Testing

@Suite("JSON pointer")
struct JSONPointerTests {
  /// What a pointer leads to, as the text of its token.
  private func lookUp(_ pointers: [String], in text: String) throws -> [String?] {
    var scanner = JSONScanner(pointers: try pointers.map { try JSONPointer($0) })
    let bytes = Array(text.utf8)
    _ = scanner.scan(bytes.span)
    return pointers.indices.map { index in
      scanner.match(index).map { String(decoding: bytes.span.extracting($0.token)) }
    }
  }

  @Test("the examples of RFC 6901, section 5, lead where it says")
  func standardExamples() throws {
    let text = #"""
      {"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}
      """#
    let found = try lookUp(
      [
        "", "/foo", "/foo/0", "/", "/a~1b", "/c%d", "/e^f", "/g|h", "/i\\j", "/k\"l", "/ ", "/m~0n",
      ], in: text)
    #expect(
      found == [
        text, "[\"bar\",\"baz\"]", "\"bar\"", "0", "1", "2", "3", "4", "5", "6", "7", "8",
      ])
  }

  @Test("what is not there is not found")
  func misses() throws {
    let found = try lookUp(
      ["/b", "/a/2", "/a/-", "/a/00", "/a/01", "/a/+1", "/a/x", "/a/0/x", "/A", "/a/", "/s/0"],
      in: #"{"a":[1,2],"s":"xy"}"#)
    #expect(found.allSatisfy { $0 == nil })
  }

  @Test("a digit is an index in an array and a name in an object")
  func digits() throws {
    #expect(try lookUp(["/0/1"], in: #"[{"1":"x"}]"#) == ["\"x\""])
    #expect(try lookUp(["/0/1"], in: #"{"0":[7,"y"]}"#) == ["\"y\""])
    #expect(try lookUp(["/10"], in: "[0,1,2,3,4,5,6,7,8,9,[ 10 ]]") == ["[ 10 ]"])
  }

  @Test("a name matches after unescaping")
  func escapedName() throws {
    #expect(try lookUp(["/message~1Id"], in: #"{"message\/\u0049d":17}"#) == ["17"])
  }

  @Test("containers end where they close, nested matches included")
  func nested() throws {
    let found = try lookUp(
      ["", "/a", "/a/b", "/a/b/1"], in: #" {"x":[[]],"a": {"b":[1,{"c":{}}] } , "z":0} "#)
    #expect(
      found == [
        #"{"x":[[]],"a": {"b":[1,{"c":{}}] } , "z":0}"#, #"{"b":[1,{"c":{}}] }"#,
        #"[1,{"c":{}}]"#, #"{"c":{}}"#,
      ])
  }

  @Test("of two equal names the last counts, with all that is below it")
  func lastDuplicateCounts() throws {
    #expect(try lookUp(["/a"], in: #"{"a":1,"a":2}"#) == ["2"])
    #expect(try lookUp(["/a/b", "/a"], in: #"{"a":{"b":1},"a":{"c":2}}"#) == [nil, #"{"c":2}"#])
  }

  @Test("a match tells kind, content and escapes")
  func facts() throws {
    let bytes = Array(
      #"{"a":"x","b":"\u0041","c":-1.5,"d":true,"e":false,"f":null,"g":{},"h":[]}"#.utf8)
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"]
    var scanner = JSONScanner(pointers: try names.map { try JSONPointer("/\($0)") })
    let verdict = scanner.scan(bytes.span)
    let matches = names.indices.compactMap { scanner.match($0) }
    #expect(verdict == .valid)
    #expect(
      matches.map(\.kind) == [.string, .string, .number, .true, .false, .null, .object, .array])
    #expect(matches.map(\.hasEscapes) == [false, true] + Array(repeating: false, count: 6))
    #expect(
      matches.map { String(decoding: bytes[$0.content], as: UTF8.self) } == [
        "x", "\\u0041", "-1.5", "true", "false", "null", "{}", "[]",
      ])
  }

  @Test("32 pointers at once each find their own")
  func manyPointers() throws {
    let text = "{" + (0..<32).map { "\"k\($0)\":\($0)" }.joined(separator: ",") + "}"
    #expect(try lookUp((0..<32).map { "/k\($0)" }, in: text) == (0..<32).map { "\($0)" })
  }

  @Test(
    "a text that is no pointer is refused with the reason",
    arguments: [
      ("a", JSONPointerError.Code.missingSlash), ("#/a", .missingSlash), ("/~", .badEscape),
      ("/~2", .badEscape), ("/a~/b", .badEscape),
      (String(repeating: "/a", count: 33), .tooDeep),
      ("/" + String(repeating: "a", count: 1024), .tooLong),
    ])
  func refused(_ text: String, _ code: JSONPointerError.Code) {
    let error = #expect(throws: JSONPointerError.self) { try JSONPointer(text) }
    #expect(error?.code == code)
  }
}
