import GatewayCore
import Platform

@testable import RingJournal

/// The journal that every input pretends to belong to: keys and seed are known here, so that an
/// input can get behind the checksums.
enum Fixed {
  static let spacing = Block.byteCount
  static let dataBlockCount = 32
  static let capacity = 4 * spacing + dataBlockCount * Block.byteCount
  static let layout = JournalLayout(capacity: ByteCount(capacity), spacing: spacing)

  static let identity = Identity(
    id: JournalID(high: 0x0011_2233_4455_4677, low: 0x8899_aabb_ccdd_eeff),
    checksumSeed: 0xdead_beef, createdAt: WallTime(nanoseconds: 1_764_000_000_000_000_000),
    capacity: capacity,
    hashKey: HashKey(high: 0x1111_1111_1111_1111, low: 0x2222_2222_2222_2222), previous: nil,
    dataStart: layout.dataStart, gatewayID: "gw-1", routeName: "telemetry")

  static let sinks = [
    JournalSink(name: "central"), JournalSink(name: "local", required: false),
  ]

  static var superblock: Superblock {
    var superblock = Superblock(headOffset: layout.dataStart, highWater: layout.dataEnd)
    superblock.generation = 1
    superblock.sinks = sinks.map {
      Superblock.Sink(name: $0.name, isRequired: $0.required, acknowledged: 0)
    }
    return superblock
  }

  static var options: JournalOptions {
    var options = JournalOptions(gatewayID: "gw-1", routeName: "telemetry", sinks: sinks)
    options.capacity = ByteCount(capacity)
    options.commitByteCountMax = ByteCount(dataBlockCount / 8 * Block.byteCount)
    return options
  }

  static let path = "/data/telemetry.journal"

  static func environment(_ disk: MemoryDisk, clock: StillClock = StillClock())
    -> JournalEnvironment
  {
    var environment = JournalEnvironment(
      disk: disk, clock: clock, bootID: BootID(high: 1, low: 2))
    environment.spacing = spacing
    return environment
  }
}

extension [UInt8] {
  mutating func edit(_ range: Range<Int>, _ body: (inout MutableSpan<UInt8>) -> Void) {
    var all = mutableSpan
    var part = all._mutatingExtracting(range)
    body(&part)
  }

  func little<Value: FixedWidthInteger & BitwiseCopyable>(
    at offset: Int, as type: Value.Type = Value.self
  ) -> Value {
    span.load(at: offset)
  }

  mutating func setLittle<Value: FixedWidthInteger & BitwiseCopyable>(
    _ value: Value, at offset: Int
  ) {
    edit(0..<count) { $0.store(value, at: offset) }
  }

  mutating func put(_ bytes: [UInt8], at offset: Int) {
    edit(offset..<offset + bytes.count) { $0.store(bytes.span, at: 0) }
  }
}

/// Writes over what protects a structure, as if the rest had been meant.
enum FixUp {
  /// An identity at `offset`.
  static func identity(_ bytes: inout [UInt8], at offset: Int = 0) {
    bytes.put(Array("PNSTRING".utf8), at: offset)
    bytes.setLittle(Identity.version, at: offset + 8)
    let checksum = Checksum.crc32c(bytes.span.extracting(offset..<offset + 508))
    bytes.setLittle(checksum, at: offset + 508)
  }

  /// A superblock's checksum, seeded by the identity it holds.
  static func superblock(_ bytes: inout [UInt8], at offset: Int = 0) {
    bytes.put(Array("PNSTSUPR".utf8), at: offset + 512)
    let seed: UInt32 = bytes.little(at: offset + 12)
    let checksum = Checksum.crc32c(bytes.span.extracting(offset..<offset + 4092), seed: seed)
    bytes.setLittle(checksum, at: offset + 4092)
  }

  /// A group whose block begins at `start` of `bytes` and at `offset` of the file.
  static func group(_ bytes: inout [UInt8], at start: Int, offset: Int) {
    let room = bytes.count - start
    guard room > GroupHeader.byteCount else { return }
    bytes.put(Array("PNSTGRUP".utf8), at: start)
    bytes.setLittle(UInt64(offset), at: start + 32)
    bytes.setLittle(Fixed.identity.id.low, at: start + 40)
    let used = min(Int(bytes.little(at: start + 68, as: UInt32.self)), room)
    if used > GroupHeader.byteCount {
      let body = checksum(bytes, start + GroupHeader.byteCount..<start + used)
      bytes.setLittle(body, at: start + 12)
    }
    let head = checksum(bytes, start + 12..<start + GroupHeader.byteCount)
    bytes.setLittle(head, at: start + 8)
  }

  private static func checksum(_ bytes: [UInt8], _ range: Range<Int>) -> UInt32 {
    Checksum.crc32c(bytes.span.extracting(range), seed: Fixed.identity.checksumSeed)
  }
}
