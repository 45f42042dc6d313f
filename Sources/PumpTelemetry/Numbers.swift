import GatewayCore

extension Array where Element == UInt8 {
  /// Appends a number with a fixed count of digits after the point, rounded half away from zero.
  /// Limits: magnitudes below 10^12, at most 6 decimals.
  mutating func append(fixed value: Double, decimals: Int) {
    precondition(value.magnitude < 1e12 && (0...6).contains(decimals), "a reading of a pump")
    var scale: UInt64 = 1
    for _ in 0..<decimals { scale *= 10 }
    let scaled = UInt64((value.magnitude * Double(scale)).rounded())
    if value < 0 && scaled > 0 { append(UInt8(ascii: "-")) }
    append(decimal: scaled / scale)
    if decimals > 0 {
      append(UInt8(ascii: "."))
      append(decimal: scaled % scale, digits: decimals)
    }
  }

  /// Appends a number with leading zeros up to `digits` digits.
  mutating func append(decimal value: UInt64, digits: Int) {
    var bound: UInt64 = 10
    for _ in 1..<Swift.max(digits, 1) {
      if value < bound { append(UInt8(ascii: "0")) }
      bound *= 10
    }
    append(decimal: value)
  }
}
