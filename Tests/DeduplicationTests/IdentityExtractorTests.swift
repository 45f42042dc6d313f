// Goal: each message gets the identity that the head of IdentityExtractor.swift promises.
// Method: payloads through the real scanner, texts compared letter by letter, identities compared
// with each other.
// Cannot show: what the scanner makes of broken JSON (see JSONScanningTests).

import GatewayCore
import JSONScanning
import Testing

@testable import Deduplication

@Suite("Message identity")
struct IdentityExtractorTests {
  struct Found: Equatable {
    let identity: MessageIdentity
    /// Nil when the message has no id.
    let text: String?
    var hash: MessageIDHash { identity.hash }
  }

  static func find(
    _ selector: MessageIDSelector, topic: String = "pumps/1/metrics", _ payload: String,
    property: String? = nil
  ) throws -> Found {
    var extractor = try IdentityExtractor(selector: selector, key: .reference)
    return find(&extractor, topic: topic, payload, property: property)
  }

  static func find(
    _ extractor: inout IdentityExtractor, topic: String = "pumps/1/metrics", _ payload: String,
    property: String? = nil
  ) -> Found {
    var scanner = JSONScanner(pointers: extractor.pointers)
    let bytes = Array(payload.utf8)
    let value = property.map { Array($0.utf8) }
    _ = scanner.scan(bytes.span)
    let identity = extractor.identify(
      topic: Array(topic.utf8).span, payload: bytes.span, json: scanner, userProperty: value?.span)
    let text: String? =
      switch identity.text {
      case .absent: nil
      case .stored: String(decoding: extractor.storedText.span)
      case .payload(let offset, let count):
        String(decoding: bytes.span.extracting(offset..<offset + count))
      }
    return Found(identity: identity, text: text)
  }

  static let id = MessageIDSelector.json(pointers: ["/id"])
  static let pair = MessageIDSelector.json(pointers: ["/a", "/b"])

  @Test("a plain string stands in the payload as it is")
  func plain() throws {
    let found = try Self.find(Self.id, #"{"id":"ND01-000017"}"#)
    #expect(found.text == "ND01-000017")
    #expect(found.identity.text == .payload(offset: 7, count: 11))
    #expect(found.hash == MessageHasherTests.hash("pumps/1/metrics", "ND01-000017"))
  }

  @Test(
    "a number is its token, letter by letter", arguments: ["0", "17", "-1.50", "1e3", "1E3", "1.0"])
  func number(token: String) throws {
    let found = try Self.find(Self.id, #"{"id": \#(token) }"#)
    #expect(found.text == token)
    #expect(found.hash == MessageHasherTests.hash("pumps/1/metrics", token, .number))
  }

  @Test("17 is not \"17\"")
  func kinds() throws {
    let number = try Self.find(Self.id, #"{"id":17}"#)
    let string = try Self.find(Self.id, #"{"id":"17"}"#)
    #expect(number.text == string.text)
    #expect(number.hash != string.hash)
  }

  @Test("an escaped string is decoded, and is the same id as the plain one")
  func escapes() throws {
    let plain = try Self.find(Self.id, #"{"id":"é/😀"}"#)
    let escaped = try Self.find(Self.id, #"{"id":"\u00e9\/\ud83d\ude00"}"#)
    #expect(escaped.text == "é/😀")
    #expect(escaped.identity.text == .stored)
    #expect(escaped.hash == plain.hash)
  }

  @Test(
    "what is no id is missing",
    arguments: [
      #"{}"#, #"{"id":null}"#, #"{"id":true}"#, #"{"id":false}"#, #"{"id":{}}"#, #"{"id":[1]}"#,
      #"{"id":""}"#, #"{"id":"\ud800"}"#, #"{"id":"x\udc00y"}"#, #"{"id":"x"#, #"not JSON"#, "",
      #"[1]"#, #"{"ID":"x"}"#,
    ])
  func missing(payload: String) throws {
    #expect(try Self.find(Self.id, payload) == Found(identity: .absent, text: nil))
  }

  @Test("several parts are joined, and each missing part makes the id missing")
  func several() throws {
    #expect(try Self.find(Self.pair, #"{"b":"2026","a":"ND01"}"#).text == "ND01|2026")
    #expect(try Self.find(Self.pair, #"{"a":"x","b":7}"#).text == "x|7")
    #expect(try Self.find(Self.pair, #"{"a":"\u0041","b":7}"#).text == "A|7")
    for payload in [#"{"a":"x"}"#, #"{"b":"x"}"#, #"{"a":"x","b":""}"#, #"{"a":null,"b":1}"#] {
      #expect(try Self.find(Self.pair, payload).identity == .absent)
    }
  }

  @Test("the join can be taken apart in one way only")
  func joins() throws {
    let payloads = [
      #"{"a":"x|","b":"y"}"#, #"{"a":"x","b":"|y"}"#, #"{"a":"x%7C","b":"y"}"#,
      #"{"a":"x%","b":"y"}"#, #"{"a":"x%25","b":"y"}"#, #"{"a":"1","b":2}"#, #"{"a":1,"b":"2"}"#,
      #"{"a":1,"b":2}"#, #"{"a":"1","b":"2"}"#,
    ]
    let found = try payloads.map { try Self.find(Self.pair, $0) }
    #expect(Set(found.map(\.hash)).count == payloads.count)
    #expect(found[0].text == "x%7C|y")
    #expect(found[1].text == "x|%7Cy")
    #expect(found[2].text == "x%257C|y")
    // A single part is not escaped.
    #expect(try Self.find(Self.id, #"{"id":"x|y%"}"#).text == "x|y%")
  }

  @Test("text of 255 bytes is carried, longer text becomes its SHA-256")
  func long() throws {
    let most = String(repeating: "x", count: 255)
    let carried = try Self.find(Self.id, #"{"id":"\#(most)"}"#)
    #expect(carried.identity.text == .payload(offset: 7, count: 255))
    let long = try Self.find(Self.id, #"{"id":"\#(most)x"}"#)
    #expect(long.identity.text == .stored)
    #expect(long.text?.utf8.count == 64)
    let longer = try Self.find(Self.id, #"{"id":"\#(most)xy"}"#)
    #expect(longer.text != long.text)
    #expect(longer.hash != long.hash)
    // The digest is of the text alone, so that it is the same for every journal.
    let escaped = try Self.find(Self.id, #"{"id":"\#(most)\u0078"}"#)
    #expect(escaped.text == long.text)
    #expect(escaped.hash == long.hash)
    let joined = try Self.find(Self.pair, #"{"a":"\#(most)","b":"%"}"#)
    #expect(joined.text?.utf8.count == 64)
  }

  @Test("the same id on another topic is another message")
  func scope() throws {
    let one = try Self.find(Self.id, topic: "a/1", #"{"id":"1"}"#)
    let two = try Self.find(Self.id, topic: "a/2", #"{"id":"1"}"#)
    #expect(one.hash != two.hash)
    #expect(one.identity.digest == two.identity.digest)
  }

  @Test("a user property is the id, and an empty or missing one is none")
  func userProperty() throws {
    let selector = MessageIDSelector.userProperty(name: "id")
    let found = try Self.find(selector, "not JSON", property: "17")
    #expect(found.text == "17")
    #expect(found.identity.text == .stored)
    #expect(try Self.find(selector, "{}", property: "").identity == .absent)
    #expect(try Self.find(selector, "{}").identity == .absent)
  }

  @Test("content identifies by topic and payload, without a text")
  func content() throws {
    let selector = MessageIDSelector.content(within: .seconds(10))
    let one = try Self.find(selector, topic: "a", "stop")
    #expect(one.text == nil)
    #expect(one.hash != .absent)
    #expect(try Self.find(selector, topic: "a", "stop") == one)
    #expect(try Self.find(selector, topic: "b", "stop").hash != one.hash)
    #expect(try Self.find(selector, topic: "a", "start").hash != one.hash)
    #expect(try Self.find(selector, topic: "as", "top").hash != one.hash)
  }

  @Test("without deduplication nothing has an id")
  func none() throws {
    #expect(try Self.find(.none, #"{"id":"1"}"#).identity == .absent)
  }

  @Test("a stored text does not outlive its message")
  func reuse() throws {
    var extractor = try IdentityExtractor(selector: Self.pair, key: .reference)
    #expect(Self.find(&extractor, #"{"a":"longer","b":"text"}"#).text == "longer|text")
    #expect(Self.find(&extractor, #"{"a":"1","b":"2"}"#).text == "1|2")
    #expect(Self.find(&extractor, #"{"a":"1"}"#).text == nil)
  }

  @Test("random payloads never trap and have at most 255 bytes of text", arguments: 0..<20)
  func random(seed: Int) throws {
    var generator = SeededGenerator(seed: UInt64(seed))
    var extractor = try IdentityExtractor(selector: Self.pair, key: .reference)
    let pieces = [
      "{", "}", "\"a\":", "\"b\":", "\"", "\\u00", "\\ud83d", "\\\"", "17", "-", ",", "|", "%",
      "é", "[", "]", "null", "x", " ",
    ]
    for _ in 0..<500 {
      var payload = #"{"a":"#
      for _ in 0..<Int.random(in: 0...12, using: &generator) {
        payload += pieces[Int.random(in: 0..<pieces.count, using: &generator)]
      }
      payload += #","b":1}"#
      let found = Self.find(&extractor, payload)
      #expect((found.hash == .absent) == (found.text == nil))
      #expect((found.text?.utf8.count ?? 0) <= MessageIDText.byteCountMax)
    }
  }

  @Test("a pointer that is none is refused")
  func badPointer() {
    #expect(throws: JSONPointerError.self) {
      _ = try IdentityExtractor(selector: .json(pointers: ["id"]), key: .reference)
    }
  }
}
