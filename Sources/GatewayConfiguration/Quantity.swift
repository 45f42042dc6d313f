// Quantities carry their unit: `20ms`, `5s`, `10m`, `2h`, `7d`; `1000B`, `16kB`, `256KiB`. A whole
// number and one unit, nothing between them. KiB, MiB and GiB are powers of 1024; kB, MB and GB
// of 1000.

package import GatewayCore
import Ingest

package enum Quantity {
  private static let durationUnits: [(name: String, nanoseconds: Int64)] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
  ]

  private static let byteUnits: [(name: String, bytes: Int64)] = [
    ("B", 1), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000),
    ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30),
  ]

  package static func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }

  static func duration(_ text: String) throws(Rejection) -> Duration {
    .nanoseconds(try scaled(text, units: durationUnits.map { ($0.name, $0.nanoseconds) }, "30s"))
  }

  static func byteCount(_ text: String) throws(Rejection) -> ByteCount {
    ByteCount(Int(try scaled(text, units: byteUnits.map { ($0.name, $0.bytes) }, "256KiB")))
  }

  /// The largest unit that divides the value; parses to the same value again.
  package static func text(_ duration: Duration) -> String {
    let nanoseconds = duration.nanoseconds
    for unit in durationUnits.reversed()
    where nanoseconds != 0 && nanoseconds % unit.nanoseconds == 0 {
      return "\(nanoseconds / unit.nanoseconds)\(unit.name)"
    }
    return "\(nanoseconds / 1_000_000)ms"
  }

  static func text(_ quota: QuotaSize) -> String {
    switch quota {
    case .percent(let share): "\(share)%"
    case .bytes(let bytes): bytes.description
    }
  }

  private static func scaled(
    _ text: String, units: [(name: String, factor: Int64)], _ example: String
  ) throws(Rejection) -> Int64 {
    let digits = text.utf8.prefix(while: isDigit)
    let unit = String(text.utf8.dropFirst(digits.count)) ?? ""
    let names = units.map(\.name)
    guard !digits.isEmpty else { throw Rejection("does not begin with a whole number") }
    if unit.isEmpty {
      throw Rejection("needs a unit: \(names.joined(separator: ", ")), as in \(example)")
    }
    guard let factor = units.first(where: { $0.name == unit })?.factor else {
      if unit.hasPrefix(".") { throw Rejection("is not a whole number; take a smaller unit") }
      if unit.hasPrefix(" ") { throw Rejection("has a space before its unit; remove it") }
      let near = names.first { $0.lowercased() == unit.lowercased() }
      if let near { throw Rejection("has an unknown unit; did you mean \(near)?") }
      if unit == "us" || unit == "ns" { throw Rejection("is finer than a millisecond") }
      throw Rejection("has an unknown unit, or more than one")
    }
    guard let count = Int64(String(digits) ?? "") else { throw Rejection("is too large") }
    let (product, overflow) = count.multipliedReportingOverflow(by: factor)
    if overflow { throw Rejection("is too large") }
    return product
  }
}

extension ByteCount {
  /// A size as configuration files and commands write it: `256KiB`, `16MB`; nil for anything else.
  package init?(text: String) {
    do throws(Rejection) {
      self = try Quantity.byteCount(text)
    } catch {
      return nil
    }
  }
}
