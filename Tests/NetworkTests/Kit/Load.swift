import TestSupport

/// The messages of the tests: number `n` is the same each time.
enum Load {
  static func id(_ number: Int) -> String { "m-\(number)" }

  /// 60 to 560 bytes, five pumps.
  @Sendable static func message(_ number: Int) -> FieldRole.Message {
    let padding = String(repeating: "x", count: number &* 7919 % 503)
    let text = "{\"messageId\":\"\(id(number))\",\"value\":\(number),\"note\":\"\(padding)\"}"
    return FieldRole.Message(topic: "pumps/p\(number % 5)/metrics", payload: Array(text.utf8))
  }
}
