import Deduplication
import GatewayCore
import JSONScanning

/// Gives each series, a source topic and the key that tells its readings apart, a place. No
/// allocation once the scratch has grown to the longest topic.
struct SeriesTable {
  private(set) var places: SourcePlaces
  private let hasher = MessageHasher(key: .random { .random(in: .min ... .max) })
  private var scratch: [UInt8] = []

  init(capacity: Int) {
    places = SourcePlaces(capacity: capacity)
    scratch.reserveCapacity(1024)
  }

  /// Where the key of a message stands; empty when it has none that tells series apart.
  static func key(_ pointer: Int?, _ json: borrowing JSONScanner) -> Range<Int> {
    guard let pointer, let match = json.match(pointer),
      match.kind == .string || match.kind == .number
    else { return 0..<0 }
    return match.token
  }

  /// The hash of a series of `domain`, whose bytes no other series has.
  mutating func hash(domain: UInt8, topic: Span<UInt8>, key: Span<UInt8>) -> UInt64 {
    Self.write(domain: domain, topic: topic, key: key, into: &scratch)
    return hasher.sourceHash(scratch.span)
  }

  /// The digest of a series that stands in the journal, in the records of its aggregates. Its key
  /// is no secret: it only has to be the same after a restart, and whoever could make two series
  /// have one would have the wrong window closed early.
  static func publicDigest(topic: Span<UInt8>, key: Span<UInt8>) -> UInt64 {
    var bytes: [UInt8] = []
    write(domain: 0, topic: topic, key: key, into: &bytes)
    return MessageHasher(key: HashKey(high: 0x7365_7269_6573_2121, low: 0x7065_6e73_746f_636b))
      .sourceHash(bytes.span)
  }

  private static func write(
    domain: UInt8, topic: Span<UInt8>, key: Span<UInt8>, into bytes: inout [UInt8]
  ) {
    bytes.removeAll(keepingCapacity: true)
    bytes.append(domain)
    bytes.append(UInt8(truncatingIfNeeded: topic.count))
    bytes.append(UInt8(truncatingIfNeeded: topic.count >> 8))
    bytes.append(topic)
    bytes.append(key)
  }

  mutating func place(of hash: UInt64) -> (place: Int, isNew: Bool)? { places.place(of: hash) }

  mutating func reclaim(where isFree: (Int) -> Bool) { places.reclaim(where: isFree) }
}
