/// A number of bytes, written with a unit wherever a person sees it.
package struct ByteCount: RawRepresentable, Hashable, Comparable, Sendable,
  CustomStringConvertible
{
  package let rawValue: Int

  package init(rawValue: Int) { self.rawValue = rawValue }
  package init(_ rawValue: Int) { self.rawValue = rawValue }

  package static func kibibytes(_ count: Int) -> ByteCount { ByteCount(count << 10) }
  package static func mebibytes(_ count: Int) -> ByteCount { ByteCount(count << 20) }
  package static func gibibytes(_ count: Int) -> ByteCount { ByteCount(count << 30) }

  package static func < (left: ByteCount, right: ByteCount) -> Bool {
    left.rawValue < right.rawValue
  }

  /// The largest binary unit that divides the value: `256KiB`, `1MiB`, `1000B`.
  package var description: String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)]
    where rawValue != 0 && rawValue % (1 << shift) == 0 {
      return "\(rawValue >> shift)\(unit)"
    }
    return "\(rawValue)B"
  }
}

extension Duration {
  /// Whole nanoseconds, clamped to what Int64 holds (292 years).
  package var nanoseconds: Int64 {
    let (seconds, attoseconds) = components
    let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    return overflow
      ? (seconds < 0 ? .min : .max)
      : product.addingReportingOverflow(attoseconds / 1_000_000_000).partialValue
  }

  package var seconds: Double { Double(nanoseconds) / 1e9 }
}
