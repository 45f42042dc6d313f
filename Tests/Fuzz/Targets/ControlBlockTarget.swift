import GatewayCore

@testable import RingJournal

/// Byte 0: bit 0 repairs the identity, bit 1 the superblock, bit 2 puts the fixed identity in
/// front. Then the block.
///
/// Promises: what is accepted is written again with the same meaning and, once written, with the
/// same bytes (unknown bytes are the only ones that may go).
enum ControlBlockTarget {
  static func run(_ input: Span<UInt8>) throws(Violation) -> Bool {
    var reader = InputReader()
    let mode = reader.byte(input)
    var block = array(input.extracting(reader.take(Block.byteCount, of: input)))
    block += [UInt8](repeating: 0, count: Block.byteCount - block.count)
    if mode & 4 != 0 { block.edit(0..<block.count) { Fixed.identity.encode(into: &$0) } }
    if mode & 1 != 0 { FixUp.identity(&block) }
    if mode & 2 != 0 { FixUp.superblock(&block) }
    guard case .valid(let identity) = Identity.read(block.span) else {
      let decoded = Superblock.decode(block.span, identity: Fixed.identity)
      try require(decoded == nil, "a superblock without an identity")
      return false
    }
    try require(
      identity.gatewayID.utf8.count <= Limits.identifierByteCountMax
        && identity.routeName.utf8.count <= Limits.identifierByteCountMax,
      "names stay within their limits")
    var again = [UInt8](repeating: 0xff, count: Identity.byteCount)
    again.edit(0..<again.count) { identity.encode(into: &$0) }
    try require(Identity.read(again.span) == .valid(identity), "an identity survives its encoding")
    // A last sequence without a previous journal says nothing; the bytes behind the names are not
    // looked at.
    for range in [0..<64, 88..<98] {
      try require(Array(again[range]) == Array(block[range]), "an identity keeps its bytes")
    }
    guard let superblock = Superblock.decode(block.span, identity: identity) else { return false }
    var rewritten = [UInt8](repeating: 0xff, count: Block.byteCount)
    rewritten.edit(0..<rewritten.count) { superblock.encode(identity: identity, into: &$0) }
    try require(
      Superblock.decode(rewritten.span, identity: identity) == superblock,
      "a superblock survives its encoding")
    try require(
      Array(rewritten[512..<644]) == Array(block[512..<644]), "a superblock keeps its bytes")
    return true
  }

  static func seeds() -> [[UInt8]] {
    var superblock = Fixed.superblock
    superblock.nextSequence = 1000
    superblock.oldestKept = 10
    superblock.headLap = 3
    superblock.nextGroupNumber = 77
    superblock.isCleanStop = true
    superblock.sinks[0].acknowledged = 900
    var whole = [UInt8](repeating: 0, count: Block.byteCount)
    whole.edit(0..<whole.count) { superblock.encode(identity: Fixed.identity, into: &$0) }
    var identity = Fixed.identity
    identity.previous = PreviousJournal(
      id: JournalID(high: 3, low: 4), lastSequence: Sequence(5))
    identity.gatewayID = String(repeating: "g", count: 64)
    var other = [UInt8](repeating: 0, count: Identity.byteCount)
    other.edit(0..<other.count) { identity.encode(into: &$0) }
    // Without the checksum and the zeros in front of it: the fix-up adds them.
    let short = Array(whole[..<1100])
    return [[0] + whole, [0] + other, [1] + other, [3] + short, [6] + short]
  }
}
