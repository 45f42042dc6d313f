import GatewayCore

/// The value of a JSON number, as far as a double holds it.
package enum JSONDouble {
  /// Powers of ten up to here are exact in a double.
  private static let powerMax = 22
  /// Whole numbers up to here are exact in a double.
  private static let mantissaMax: UInt64 = 1 << 53

  /// The double nearest to a number token that a scan has found; nil when it is beyond all doubles.
  ///
  /// Allocates nothing for the numbers that devices send: at most 2^53 without its point, and a
  /// power of ten of at most 22. There one division or multiplication of two exact doubles is the
  /// nearest double (W. Clinger, "How to Read Floating Point Numbers Accurately", 1990). Others go
  /// the long way.
  package static func value(of token: Span<UInt8>) -> Double? {
    if let value = exact(token) { return value }
    guard let value = Double(String(decoding: token)), value.isFinite else { return nil }
    return value
  }

  private static func exact(_ token: Span<UInt8>) -> Double? {
    var mantissa: UInt64 = 0
    var power = 0
    var index = 0
    var isNegative = false
    if index < token.count, token[index] == UInt8(ascii: "-") {
      isNegative = true
      index += 1
    }
    var isFraction = false
    while index < token.count {
      let byte = token[index]
      if byte == UInt8(ascii: "."), !isFraction {
        isFraction = true
      } else if byte &- UInt8(ascii: "0") < 10 {
        mantissa = mantissa * 10 + UInt64(byte - UInt8(ascii: "0"))
        guard mantissa <= mantissaMax else { return nil }
        if isFraction { power -= 1 }
      } else {
        break
      }
      index += 1
    }
    if index < token.count {
      guard token[index] | 0x20 == UInt8(ascii: "e"), let exponent = exponent(token, index + 1)
      else { return nil }
      power += exponent
    }
    guard abs(power) <= powerMax else { return nil }
    var scale = 1.0
    for _ in 0..<abs(power) { scale *= 10 }
    let value = power < 0 ? Double(mantissa) / scale : Double(mantissa) * scale
    return isNegative ? -value : value
  }

  private static func exponent(_ token: Span<UInt8>, _ start: Int) -> Int? {
    var index = start
    var isNegative = false
    if index < token.count, token[index] == UInt8(ascii: "-") || token[index] == UInt8(ascii: "+") {
      isNegative = token[index] == UInt8(ascii: "-")
      index += 1
    }
    var value = 0
    guard index < token.count, token.count - index <= 4 else { return nil }
    while index < token.count {
      guard token[index] &- UInt8(ascii: "0") < 10 else { return nil }
      value = value * 10 + Int(token[index] - UInt8(ascii: "0"))
      index += 1
    }
    return isNegative ? -value : value
  }
}
