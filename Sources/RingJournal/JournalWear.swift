/// What a journal has cost its disk since it was created. As of the last superblock after a crash:
/// a sixteenth of the ring may be missing.
package struct JournalWear: Sendable, Hashable {
  /// Bytes written to the file: filling, groups with their padding, superblocks.
  package var writtenByteCount: UInt64 = 0
  package var syncCount: UInt64 = 0
  /// Records committed, each once however often the tail that holds it was written.
  package var recordCount: UInt64 = 0
  /// Topic and payload bytes of these.
  package var recordByteCount: UInt64 = 0

  package init() {}

  init(_ bytes: Span<UInt8>, at offset: Int) {
    writtenByteCount = bytes.load(at: offset)
    syncCount = bytes.load(at: offset + 8)
    recordCount = bytes.load(at: offset + 16)
    recordByteCount = bytes.load(at: offset + 24)
  }

  func encode(into bytes: inout MutableSpan<UInt8>, at offset: Int) {
    bytes.store(writtenByteCount, at: offset)
    bytes.store(syncCount, at: offset + 8)
    bytes.store(recordCount, at: offset + 16)
    bytes.store(recordByteCount, at: offset + 24)
  }
}
