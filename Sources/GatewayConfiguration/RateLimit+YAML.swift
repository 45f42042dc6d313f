import GatewayCore
import Upstream

extension SectionReader {
  /// ## Configuration keys
  /// `rate_limit`: `none`, or `rate` (required), `burst`, `applies_to`.
  mutating func readRateLimit(into target: inout RateLimit?) {
    let key = "rate_limit"
    let isThere = isPresent(key)
    var limit: RateLimit?
    section(key, orNone: "a rate limit", example: "{rate: 2MB/s, applies_to: backlog}") { section in
      if isThere, !section.isPresent("rate") {
        section.reportMissing("rate", accepted: "2MB/s as bytes, or 500/s as messages per second")
      }
      let rate = section.value("rate", .rate)
      var scope = RateLimit.Scope.backlog
      section.read("applies_to", .choice, into: &scope)
      guard let rate else {
        // Without a rate nobody knows what the burst counts.
        _ = section.node("burst")
        return
      }
      limit = RateLimit(
        rate.unit, perSecond: rate.perSecond, burst: section.value("burst", .burst(of: rate.unit)),
        scope: scope)
    }
    if let limit { target = limit }
  }
}

/// `2MB/s` or `500/s`.
struct Rate {
  var unit: RateLimit.Unit
  var perSecond: Int
}

extension ScalarKind where Value == Rate {
  fileprivate static var rate: ScalarKind {
    let bytes = RateLimit.bytesPerSecondRange
    let messages = RateLimit.messagesPerSecondRange
    let accepted =
      "bytes from \(bytes.lowerBound)/s to \(bytes.upperBound)/s, or messages from "
      + "\(messages.lowerBound)/s to \(messages.upperBound)/s"
    return ScalarKind(accepted: accepted) { (text) throws(Rejection) in
      guard text.hasSuffix("/s") else { throw Rejection("does not end in /s, as in 2MB/s") }
      let amount = String(text.dropLast(2))
      if !amount.isEmpty, amount.utf8.allSatisfy(Quantity.isDigit) {
        let count = try ScalarKind<Int>.integer(messages).read(amount)
        return Rate(unit: .messages, perSecond: count)
      }
      let size = try ScalarKind<ByteCount>.byteCount(bytes).read(amount)
      return Rate(unit: .bytes, perSecond: size.rawValue)
    }
  }
}

extension ScalarKind where Value == Int {
  fileprivate static func burst(of unit: RateLimit.Unit) -> ScalarKind {
    switch unit {
    case .messages: return integer(RateLimit.burstMessagesRange)
    case .bytes:
      let size = ScalarKind<ByteCount>.byteCount(RateLimit.burstBytesRange)
      return ScalarKind(accepted: size.accepted) { (text) throws(Rejection) in
        try size.read(text).rawValue
      }
    }
  }
}

extension RateLimit {
  /// An amount in this limit's unit, as the file writes it.
  func amountText(_ amount: Int) -> String {
    switch unit {
    case .bytes: ByteCount(amount).description
    case .messages: String(amount)
    }
  }
}
