import GatewayCore

/// Numbers as people read them.
enum Figures {
  /// `digits` digits behind the point; nil for what is not finite or beyond 64 bits.
  static func decimal(_ value: Double, digits: Int) -> String? {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (value * scale).rounded()
    guard scaled.isFinite, abs(scaled) < 9e18 else { return nil }
    let number = String(UInt64(abs(scaled)))
    let sign = scaled < 0 ? "-" : ""
    guard digits > 0 else { return sign + number }
    let padded = String(repeating: "0", count: max(0, digits + 1 - number.utf8.count)) + number
    return "\(sign)\(padded.dropLast(digits)).\(padded.suffix(digits))"
  }

  /// `1.5 GiB`, `812 B`.
  static func bytes(_ count: some BinaryInteger) -> String {
    let value = Double(count)
    for (unit, size) in [("TiB", 0x1p40), ("GiB", 0x1p30), ("MiB", 0x1p20), ("KiB", 0x1p10)]
    where value >= size {
      return "\(decimal(value / size, digits: 1) ?? "?") \(unit)"
    }
    return "\(count) B"
  }

  /// `12.5 %`.
  static func percent(_ part: Double, of whole: Double) -> String {
    "\(whole > 0 ? decimal(part / whole * 100, digits: 1) ?? "?" : "0.0") %"
  }

  /// The two largest units: `3 d 4 h`, `12 min 5 s`, `0.4 s`.
  static func duration(_ duration: Duration) -> String {
    let seconds = duration.seconds
    if seconds < 10 { return "\(decimal(seconds, digits: 1) ?? "?") s" }
    let whole = Int64(seconds)
    switch whole {
    case ..<60: return "\(whole) s"
    case ..<3600: return "\(whole / 60) min \(whole % 60) s"
    case ..<86_400: return "\(whole / 3600) h \(whole % 3600 / 60) min"
    default: return "\(whole / 86_400) d \(whole % 86_400 / 3600) h"
    }
  }

  /// `1 record`, `2 records`.
  static func count(_ count: some BinaryInteger, _ noun: String) -> String {
    "\(count) \(noun)\(count == 1 ? "" : "s")"
  }
}
