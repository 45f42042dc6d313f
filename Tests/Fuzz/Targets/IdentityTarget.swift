import Deduplication
import GatewayCore
import JSONScanning

/// Byte 0: the selector; topic length u8, user property length u8, topic, user property, payload.
///
/// Promises: the id's text lies in the payload or is stored and short; the same message has the
/// same identity; another topic has another; a message without an id has none of it.
enum IdentityTarget {
  private static let key = HashKey(high: 1, low: 2)

  private static let selectors: [MessageIDSelector] = [
    .json(pointers: ["/id"]), .json(pointers: ["/device", "/seq"]), .userProperty(name: "id"),
    .content(within: .seconds(5)), .none,
  ]

  static func run(_ input: Span<UInt8>) throws(Violation) -> Bool {
    var reader = InputReader()
    let selector = selectors[Int(reader.byte(input)) % selectors.count]
    let (topicCount, propertyCount) = (Int(reader.byte(input)), Int(reader.byte(input)))
    let topic = input.extracting(reader.take(topicCount, of: input))
    let property = input.extracting(reader.take(propertyCount, of: input))
    let payload = input.extracting(reader.take(input.count, of: input))
    guard var extractor = try? IdentityExtractor(selector: selector, key: key) else {
      throw Violation("the selectors are selectors")
    }
    var scanner = JSONScanner(pointers: extractor.pointers)
    _ = scanner.scan(payload)
    func identify(_ topic: Span<UInt8>) -> MessageIdentity {
      extractor.identify(topic: topic, payload: payload, json: scanner, userProperty: property)
    }
    let identity = identify(topic)
    switch identity.text {
    case .absent: break
    case .payload(let offset, let count):
      try require(
        offset >= 0 && count > 0 && offset + count <= payload.count
          && count <= MessageIDText.byteCountMax, "the id's text lies in the payload")
    case .stored:
      try require(
        1...MessageIDText.byteCountMax ~= extractor.storedText.count, "a stored text is short")
    }
    try require(identify(topic) == identity, "the same message has the same identity")
    guard identity.hash != .absent else {
      try require(identity == .absent, "no id: no digest and no text")
      return false
    }
    let other: [UInt8] = array(topic) + [0x2f]
    try require(
      identify(other.span).hash != identity.hash, "another topic has another identity")
    return true
  }

  static func seeds() -> [[UInt8]] {
    func input(_ selector: UInt8, _ payload: String) -> [UInt8] {
      [selector, 7, 3] + Array("pumps/1".utf8) + Array("u-1".utf8) + Array(payload.utf8)
    }
    return [
      input(0, #"{"id":"ND01-17"}"#), input(0, #"{"id":17}"#), input(0, #"{"id":"a\u00e9"}"#),
      input(1, #"{"device":"N|D%","seq":4}"#), input(2, "x"), input(3, "reading"), input(4, "{}"),
      input(0, #"{"id":"\#(String(repeating: "z", count: 300))"}"#),
    ]
  }
}
