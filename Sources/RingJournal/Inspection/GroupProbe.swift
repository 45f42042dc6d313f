import GatewayCore
import Platform

/// Looks at single places of the data region.
struct GroupProbe: ~Copyable {
  private let file: any DiskFile
  private let identity: Identity
  private let layout: JournalLayout
  private var buffer = AlignedBuffer(count: Block.byteCount)

  init(file: any DiskFile, identity: Identity, layout: JournalLayout) {
    self.file = file
    self.identity = identity
    self.layout = layout
  }

  /// The header of the group that begins at `offset`, its body unchecked.
  mutating func header(at offset: Int) -> GroupHeader? {
    guard layout.dataStart <= offset, offset < layout.dataEnd,
      fetch(offset, byteCount: Block.byteCount)
    else { return nil }
    let identity = self.identity
    return buffer.withBytes(0..<Block.byteCount) {
      GroupHeader.decode($0, offset: offset, identity: identity)
    }
  }

  /// The same, when the whole group is intact.
  mutating func group(at offset: Int) -> GroupHeader? {
    guard let header = header(at: offset) else { return nil }
    let used = Int(header.usedByteCount)
    if used > Block.byteCount {
      if buffer.count < header.occupiedByteCount {
        buffer = AlignedBuffer(count: header.occupiedByteCount)
      }
      guard fetch(offset, byteCount: header.occupiedByteCount) else { return nil }
    }
    let identity = self.identity
    return buffer.withBytes(0..<used) { bytes -> GroupHeader? in
      // The second look may find another group there.
      guard let again = GroupHeader.decode(bytes, offset: offset, identity: identity),
        again.headerChecksum == header.headerChecksum,
        again.bodyIsIntact(bytes, seed: identity.checksumSeed)
      else { return nil }
      return again
    }
  }

  private mutating func fetch(_ offset: Int, byteCount: Int) -> Bool {
    let file = self.file
    return buffer.withMutableBytes(0..<byteCount) { bytes in
      (try? file.read(into: &bytes, at: offset)) == byteCount
    }
  }
}
