package import GatewayCore

/// What makes this file this journal. Written once when the file is created, in four places (both
/// superblock slots and two copies of its own), never changed.
///
/// ## On disk, format version 1. Little-endian. 512 bytes, at the start of four blocks.
///
///     offset bytes
///        0     8  magic "PNSTRING"
///        8     2  format version, 1
///       10     2  block size, 4096
///       12     4  secret checksum seed
///       16     8  journal id, high half          24  8  low half
///       32     8  created at, wall clock, nanoseconds since 1970
///       40     8  capacity: size of the file in bytes
///       48     8  hash key, high half            56  8  low half
///       64     8  previous journal's id, high    72  8  low half; both 0: none known
///       80     8  previous journal's last sequence
///       88     8  offset of the data region
///       96     1  byte count of the gateway id   97  1  byte count of the route name
///       98    64  gateway id, UTF-8             162 64  route name, UTF-8
///      226   282  zero
///      508     4  CRC-32C of bytes 0 ..< 508, not seeded
///
/// An identity is valid if and only if (1) the magic matches, (2) the checksum matches, (3) the
/// version is 1, (4) block size, offset and lengths are within bounds. Magic, version and checksum
/// stay where they are in every later version, so that an older program can say "too new".
struct Identity: Sendable, Equatable {
  static let byteCount = 512
  static let version: UInt16 = 1
  static let magic: StaticString = "PNSTRING"

  var id: JournalID
  var checksumSeed: UInt32
  var createdAt: WallTime
  var capacity: Int
  var hashKey: HashKey
  var previous: PreviousJournal?
  var dataStart: Int
  var gatewayID: String
  var routeName: String

  enum Reading: Equatable {
    case valid(Identity)
    case newer(version: UInt16)
    case zeros
    /// Our magic, but damaged.
    case damaged
    case foreign
  }

  func encode(into bytes: inout MutableSpan<UInt8>) {
    precondition(bytes.count >= Identity.byteCount, "room for an identity")
    precondition(
      gatewayID.utf8.count <= Limits.identifierByteCountMax
        && routeName.utf8.count <= Limits.identifierByteCountMax, "names were validated")
    for index in 0..<Identity.byteCount { bytes[index] = 0 }
    bytes.store(magic: Identity.magic, at: 0)
    bytes.store(Identity.version, at: 8)
    bytes.store(UInt16(Block.byteCount), at: 10)
    bytes.store(checksumSeed, at: 12)
    bytes.store(id.high, at: 16)
    bytes.store(id.low, at: 24)
    bytes.store(createdAt.nanoseconds, at: 32)
    bytes.store(UInt64(capacity), at: 40)
    bytes.store(hashKey.high, at: 48)
    bytes.store(hashKey.low, at: 56)
    bytes.store(previous?.id.high ?? 0, at: 64)
    bytes.store(previous?.id.low ?? 0, at: 72)
    bytes.store(previous?.lastSequence.rawValue ?? 0, at: 80)
    bytes.store(UInt64(dataStart), at: 88)
    bytes[96] = UInt8(gatewayID.utf8.count)
    bytes[97] = UInt8(routeName.utf8.count)
    bytes.store(utf8: gatewayID, at: 98)
    bytes.store(utf8: routeName, at: 162)
    bytes.store(Checksum.crc32c(bytes.span.extracting(0..<508)), at: 508)
  }

  static func read(_ bytes: Span<UInt8>, verifying: Bool = true) -> Reading {
    guard bytes.count >= byteCount else { return .foreign }
    guard bytes.hasMagic(magic, at: 0) else {
      for index in 0..<byteCount where bytes[index] != 0 { return .foreign }
      return .zeros
    }
    guard
      !verifying
        || Checksum.crc32c(bytes.extracting(0..<508)) == bytes.load(at: 508, as: UInt32.self)
    else { return .damaged }
    let version = bytes.load(at: 8, as: UInt16.self)
    if version != Identity.version { return .newer(version: version) }
    let capacity = Int(clamping: bytes.load(at: 40, as: UInt64.self))
    let dataStart = Int(clamping: bytes.load(at: 88, as: UInt64.self))
    let (gatewayCount, routeCount) = (Int(bytes[96]), Int(bytes[97]))
    guard bytes.load(at: 10, as: UInt16.self) == UInt16(Block.byteCount),
      dataStart % (4 * Block.byteCount) == 0, dataStart > 0, dataStart < capacity,
      capacity % Block.byteCount == 0, gatewayCount <= Limits.identifierByteCountMax,
      routeCount <= Limits.identifierByteCountMax
    else { return .damaged }
    let previous = JournalID(high: bytes.load(at: 64), low: bytes.load(at: 72))
    return .valid(
      Identity(
        id: JournalID(high: bytes.load(at: 16), low: bytes.load(at: 24)),
        checksumSeed: bytes.load(at: 12),
        createdAt: WallTime(nanoseconds: bytes.load(at: 32)), capacity: capacity,
        hashKey: HashKey(high: bytes.load(at: 48), low: bytes.load(at: 56)),
        previous: previous.high | previous.low == 0
          ? nil
          : PreviousJournal(id: previous, lastSequence: Sequence(bytes.load(at: 80))),
        dataStart: dataStart, gatewayID: bytes.text(at: 98, count: gatewayCount),
        routeName: bytes.text(at: 162, count: routeCount)))
  }
}

/// The journal that this one replaced, if it was known when this one was created. It tells
/// the centre where the numbering that starts again at 1 comes from.
package struct PreviousJournal: Sendable, Hashable {
  package var id: JournalID
  package var lastSequence: Sequence

  package init(id: JournalID, lastSequence: Sequence) {
    self.id = id
    self.lastSequence = lastSequence
  }
}

/// The identity as other modules see it: without the checksum seed.
package struct JournalIdentity: Sendable, Hashable {
  package let id: JournalID
  package let hashKey: HashKey
  package let gatewayID: String
  package let routeName: String
  package let createdAt: WallTime
  package let capacity: ByteCount
  package let previous: PreviousJournal?

  init(_ identity: Identity) {
    id = identity.id
    hashKey = identity.hashKey
    gatewayID = identity.gatewayID
    routeName = identity.routeName
    createdAt = identity.createdAt
    capacity = ByteCount(identity.capacity)
    previous = identity.previous
  }
}
