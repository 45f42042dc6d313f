import Envelope
import GatewayCore

/// The input is a message as it comes from the broker.
///
/// Promises: no input of a few bytes makes more than the limit of text; what is accepted accounts
/// for first...last exactly, and every event's sequence lies between them.
enum EnvelopeTarget {
  static let byteCountMax = ByteCount.kibibytes(256)

  static func run(_ input: Span<UInt8>) throws(Violation) -> Bool {
    var limits = EnvelopeLimits()
    limits.byteCountMax = byteCountMax
    guard let envelope = try? EnvelopeDecoder.decode(input, limits: limits) else { return false }
    let header = envelope.header
    try require(header.first <= header.last, "an envelope runs forward")
    let ranges =
      envelope.events.map { SequenceRange($0.sequence, $0.sequence) }
      + envelope.gaps.map(\.range) + envelope.elided
    var total: UInt64 = 0
    for range in ranges {
      try require(
        header.first <= range.first && range.last <= header.last,
        "nothing lies outside the envelope")
      total += range.count
    }
    try require(
      total == SequenceRange(header.first, header.last).count, "every sequence is accounted for")
    for event in envelope.events {
      try require(
        event.payload.count <= byteCountMax.rawValue, "a payload is no larger than its message")
    }
    return true
  }

  static func seeds() -> [[UInt8]] {
    [Compression.none, .zstd].map { compression in
      var encoder = EnvelopeEncoder(gateway: "gw-1", site: "houston", route: "telemetry")
      encoder.begin(
        journal: JournalID(high: 0x0011_2233_4455_4677, low: 0x8899_aabb_ccdd_eeff),
        epoch: Epoch(rawValue: 0x0123_4567_89ab_cdef), first: .first)
      EventTarget.append(
        to: &encoder, sequence: 1, flags: [.json], payload: Array(#"{"rpm":1.5}"#.utf8))
      EventTarget.append(to: &encoder, sequence: 2, flags: [.retained], payload: [0, 255, 34])
      encoder.appendGap(Gap(SequenceRange(Sequence(3), Sequence(9)), .ringFull))
      encoder.appendElided(SequenceRange(Sequence(10), Sequence(10)))
      var message: [UInt8] = []
      encoder.finish(last: Sequence(10), compression: compression, into: &message)
      return message
    }
  }
}
