package import Platform

/// The seam between the journal and the machine's disk: `POSIXDisk` in the product, a simulated
/// disk in the tests that forgets, tears and fails. All calls block.
package protocol Disk: AnyObject, Sendable {
  /// Opens the file, with O_CLOEXEC.
  func open(_ path: String, _ mode: DiskOpenMode) throws(SystemError) -> any DiskFile
  func exists(_ path: String) -> Bool
  /// Names in the directory, without `.` and `..`.
  func entries(ofDirectory path: String) throws(SystemError) -> [String]
  func createDirectory(_ path: String) throws(SystemError)
  func rename(_ path: String, to newPath: String) throws(SystemError)
  func remove(_ path: String) throws(SystemError)
  /// Makes the names in the directory that holds `path` durable.
  func syncDirectory(of path: String) throws(SystemError)
  /// The filesystem that holds the directory of `path`.
  func volume(of path: String) throws(SystemError) -> VolumeFacts
}

package enum DiskOpenMode: Sendable {
  /// Exists; read and write.
  case existing
  /// Must not exist; mode 0600.
  case create
  case readOnly
  /// Reads that bypass the page cache where the filesystem can (O_DIRECT): offsets, counts and
  /// memory are block-aligned.
  case scan
}

/// One open file. Closed when the last reference goes.
package protocol DiskFile: AnyObject, Sendable {
  /// An exclusive advisory lock that dies with the descriptor; false when another holds it.
  func lock() throws(SystemError) -> Bool
  func byteCount() throws(SystemError) -> Int
  /// Reads until the span is full or the file ends; returns the number of bytes read.
  func read(into bytes: inout MutableSpan<UInt8>, at offset: Int) throws(SystemError) -> Int
  /// Writes all bytes, going on after short and interrupted writes, or throws.
  func write(_ bytes: Span<UInt8>, at offset: Int) throws(SystemError)
  /// fdatasync(2). After an error nothing is known about any write since the last success.
  func dataSync() throws(SystemError)
  /// fsync(2).
  func fullSync() throws(SystemError)
  /// Forgets clean cached pages, so that the next read comes from the disk. After a failed
  /// sync the cache may hold what the disk never got.
  func dropCache()
  /// As above, of some bytes, as far as that is worth while: nobody will read them again soon.
  func dropCache(of range: Range<Int>)
}

extension DiskFile {
  /// A disk without a cache.
  package func dropCache(of range: Range<Int>) {}
}

extension DiskFile {
  /// Where the process is to die in the middle of a write: writes the first half and dies.
  func tear(_ bytes: Span<UInt8>, at offset: Int, _ point: Failpoint) {
    guard point.isDue else { return }
    try? write(bytes.extracting(0..<bytes.count / 2), at: offset)
    point.act()
  }
}

/// What the journal needs to know of a filesystem.
package struct VolumeFacts: Sendable, Hashable {
  package var filesystem: Filesystem
  /// What an unprivileged process may still write.
  package var freeByteCount: Int
  /// Identity of the filesystem (statfs(2), f_fsid).
  package var identity: UInt64

  package init(filesystem: Filesystem, freeByteCount: Int, identity: UInt64) {
    self.filesystem = filesystem
    self.freeByteCount = freeByteCount
    self.identity = identity
  }

  package enum Filesystem: Sendable, Hashable {
    case ordinary
    /// A sync promises something else than "survives a power cut" here.
    case refused(name: String)
    /// Works, but whether it is durable depends on what lies below.
    case doubtful(name: String)
  }
}
