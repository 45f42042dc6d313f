// Topic filters and topic names (MQTT 5.0, section 4.7), and what we refuse beyond the standard.

enum TopicRules {
  /// The standard allows 65,535; a limit that keeps a hand-written file and its checks small.
  static let byteCountMax = 1_024

  static func check(_ text: String) throws(Rejection) {
    guard !text.isEmpty else { throw Rejection("is empty") }
    guard text.utf8.count <= byteCountMax else { throw Rejection("is too long") }
    guard !text.unicodeScalars.contains(where: CharacterClass.isControl) else {
      throw Rejection("has control characters")
    }
  }

  static func checkWildcards(_ text: String) throws(Rejection) {
    let levels = text.split(separator: "/", omittingEmptySubsequences: false)
    for (index, level) in levels.enumerated() {
      if level.utf8.contains(UInt8(ascii: "#")), level != "#" || index != levels.count - 1 {
        throw Rejection("has a # that is not the whole last level")
      }
      if level.utf8.contains(UInt8(ascii: "+")), level != "+" {
        throw Rejection("has a + that is not a whole level")
      }
    }
  }
}

extension ScalarKind where Value == String {
  static var topicFilter: ScalarKind {
    ScalarKind(accepted: "a topic filter such as pumps/+/metrics or pumps/#") {
      (text) throws(Rejection) in
      try TopicRules.check(text)
      try TopicRules.checkWildcards(text)
      if text.hasPrefix("$share/") {
        throw Rejection("is a shared subscription, which breaks the order of a source")
      }
      if text.hasPrefix("$") {
        throw Rejection("belongs to the broker itself and is never forwarded")
      }
      return text
    }
  }

  static var topicName: ScalarKind {
    ScalarKind(accepted: "a topic without + and #, such as site/pumps") {
      (text) throws(Rejection) in
      try TopicRules.check(text)
      guard !text.contains(where: { $0 == "+" || $0 == "#" }) else {
        throw Rejection("has a wildcard, but something is published there")
      }
      if text.hasPrefix("$") { throw Rejection("begins with $, which belongs to the broker") }
      return text
    }
  }

  /// The front of a topic, possibly empty.
  static var topicPrefix: ScalarKind {
    ScalarKind(accepted: "the front of a topic without + and #, or \"\"") {
      (text) throws(Rejection) in
      if text.isEmpty { return text }
      return try topicName.read(text)
    }
  }
}
