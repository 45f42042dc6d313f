import Deduplication
import GatewayCore
import Platform

/// Look-ups in a full window of a million ids, hits and misses mixed, and inserts that evict.
enum DeduplicationBenchmark {
  static let ids = 1_000_000
  static let lookups = 10_000_000

  static func run() throws {
    var window = DeduplicationWindow(capacity: ids)
    for index in 0..<UInt64(ids) { window.insert(hash(index), digest: index) }
    window.commit()
    var found = 0
    let start = Clock.monotonic()
    for index in 0..<UInt64(lookups) {
      // Half of them known, in an order the caches cannot guess.
      let id = (index &* 0x9E37_79B9_7F4A_7C15) % UInt64(2 * ids)
      if case .duplicate = window.check(hash(id), digest: id) { found += 1 }
    }
    let lookupSeconds = seconds(since: start)
    let insertStart = Clock.monotonic()
    for index in UInt64(ids)..<UInt64(3 * ids) { window.insert(hash(index), digest: index) }
    let insertSeconds = seconds(since: insertStart)
    let bytes = Double(DeduplicationWindow.byteCount(capacity: ids)) / Double(ids)
    Console.line(
      "dedup: \((Double(lookups) / lookupSeconds / 1e6).short) M look-ups/s (wanted ≥ 5), "
        + "\((Double(2 * ids) / insertSeconds / 1e6).short) M inserts/s with eviction, "
        + "\(bytes.short) bytes per id (≤ 32), \(found * 100 / lookups) % known")
  }

  /// As good as SipHash's: spread over all bits.
  static func hash(_ index: UInt64) -> MessageIDHash {
    MessageIDHash(high: mix(index), low: mix(index ^ 0xABCD_EF01_2345_6789))
  }

  private static func mix(_ value: UInt64) -> UInt64 {
    var word = value &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ word >> 29) &* 0x94D0_49BB_1331_11EB
    return word ^ word >> 32
  }
}
