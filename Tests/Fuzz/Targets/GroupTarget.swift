import GatewayCore

@testable import RingJournal

/// Byte 0: bit 0 repairs checksums, place and journal. Then a group as it stands in the file.
///
/// Promises: a header that is accepted lies within the region, its encoding is the bytes it was
/// read from, and no record that the walk finds leaves the group.
enum GroupTarget {
  static func run(_ input: Span<UInt8>) throws(Violation) -> Bool {
    var reader = InputReader()
    let isRepaired = reader.byte(input) & 1 != 0
    let limit = Fixed.layout.groupByteCountMax
    var bytes = array(input.extracting(reader.take(limit, of: input)))
    bytes += [UInt8](repeating: 0, count: max(Block.roundUp(bytes.count), 4096) - bytes.count)
    let offset = Fixed.layout.dataStart
    if isRepaired { FixUp.group(&bytes, at: 0, offset: offset) }
    guard
      let header = GroupHeader.decode(bytes.span, offset: offset, identity: Fixed.identity)
    else { return false }
    let used = Int(header.usedByteCount)
    try require(
      header.first >= 1 && header.last >= header.first, "a group has sequences, in order")
    try require(
      used > GroupHeader.byteCount && header.occupiedByteCount <= limit, "a group has its limits")
    guard used <= bytes.count,
      header.bodyIsIntact(bytes.span, seed: Fixed.identity.checksumSeed)
    else { return false }
    try walk(bytes, header)
    try checkEncoding(header, of: bytes)
    return true
  }

  private static func walk(_ bytes: [UInt8], _ group: GroupHeader) throws(Violation) {
    var offset = GroupHeader.byteCount
    let used = Int(group.usedByteCount)
    var sequence = group.first
    while sequence <= group.last,
      let header = RecordHeader.decode(bytes.span, at: offset, end: used),
      let taken = header.sequenceCount(bytes.span, at: offset)
    {
      try require(taken >= 1, "a record takes a sequence")
      if taken - 1 > group.last - sequence { break }
      let record = JournalRecord(
        header, sequences: sequence...sequence + (taken - 1), offset: offset, group: group,
        committedAt: nil, wallOffset: nil,
        elapsedBase: group.elapsedBase)
      try RecordTarget.check(record, header, from: offset, end: used)
      offset += header.byteCount
      sequence += taken
    }
  }

  private static func checkEncoding(_ header: GroupHeader, of bytes: [UInt8]) throws(Violation) {
    var header = header
    let used = Int(header.usedByteCount)
    var again = Array(bytes[..<used])
    let seed = Fixed.identity.checksumSeed
    again.edit(0..<used) { header.encode(into: &$0, seed: seed) }
    // Flags and reserved bytes may go, and with them the checksum over them.
    for range in [0..<8, 12..<76, 80..<240] {
      try require(Array(again[range]) == Array(bytes[range]), "a header keeps its bytes \(range)")
    }
  }

  static func seeds() throws -> [[UInt8]] {
    try SeedRing.groups().map { [1] + $0 }
  }
}
