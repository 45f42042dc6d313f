import CLinux
import Glibc
package import Platform

/// The machine's own disk.
package final class POSIXDisk: Disk {
  package static let shared = POSIXDisk()

  private init() {}

  package func open(_ path: String, _ mode: DiskOpenMode) throws(SystemError) -> any DiskFile {
    switch mode {
    case .existing:
      return POSIXFile(try File.open(path, flags: O_RDWR))
    case .create:
      let descriptor = try File.open(path, flags: O_RDWR | O_CREAT | O_EXCL, mode: 0o600)
      POSIXDisk.giveToOwner(ofDirectory: File.directoryName(of: path), descriptor)
      return POSIXFile(descriptor)
    case .readOnly:
      return POSIXFile(try File.open(path, flags: O_RDONLY))
    case .scan:
      do throws(SystemError) {
        return POSIXFile(try File.open(path, flags: O_RDONLY | penstock_o_direct), isDirect: true)
      } catch {
        guard error.code == EINVAL else { throw error }
        return POSIXFile(try File.open(path, flags: O_RDONLY))
      }
    }
  }

  /// What root creates in the gateway's directory, the gateway must be able to open. Where that is
  /// not possible the file stays root's, as any other file would.
  private static func giveToOwner(
    ofDirectory path: String, _ descriptor: borrowing FileDescriptor
  ) {
    var facts = stat()
    guard geteuid() == 0, unsafe stat(path, &facts) == 0, facts.st_uid != 0 else { return }
    _ = fchown(descriptor.raw, facts.st_uid, facts.st_gid)
  }

  package func exists(_ path: String) -> Bool {
    var facts = stat()
    return unsafe lstat(path, &facts) == 0
  }

  package func entries(ofDirectory path: String) throws(SystemError) -> [String] {
    guard let directory = unsafe opendir(path) else { throw SystemError("opendir \(path)") }
    defer { unsafe _ = closedir(directory) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = unsafe readdir(directory) else {
        if errno != 0 { throw SystemError("readdir \(path)") }
        return names
      }
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
  }

  package func createDirectory(_ path: String) throws(SystemError) {
    if unsafe mkdir(path, 0o700) != 0 && errno != EEXIST { throw SystemError("mkdir \(path)") }
  }

  package func rename(_ path: String, to newPath: String) throws(SystemError) {
    if unsafe Glibc.rename(path, newPath) != 0 {
      throw SystemError("rename \(path) to \(newPath)")
    }
  }

  package func remove(_ path: String) throws(SystemError) {
    if unsafe unlink(path) != 0 { throw SystemError("unlink \(path)") }
  }

  package func syncDirectory(of path: String) throws(SystemError) {
    try File.syncDirectory(of: path)
  }

  package func volume(of path: String) throws(SystemError) -> VolumeFacts {
    let directory = File.directoryName(of: path)
    var facts = statfs()
    guard unsafe statfs(directory, &facts) == 0 else { throw SystemError("statfs \(directory)") }
    let identity = unsafe withUnsafeBytes(of: &facts.f_fsid) {
      unsafe $0.loadUnaligned(as: UInt64.self)
    }
    return VolumeFacts(
      filesystem: POSIXDisk.filesystem(magic: UInt32(truncatingIfNeeded: facts.f_type)),
      freeByteCount: Int(clamping: facts.f_bavail).multipliedReportingOverflow(
        by: Int(facts.f_bsize)
      ).partialValue,
      identity: identity)
  }

  /// Magic numbers of statfs(2).
  static func filesystem(magic: UInt32) -> VolumeFacts.Filesystem {
    switch magic {
    case 0x0102_1994: .refused(name: "tmpfs")
    case 0x8584_58f6: .refused(name: "ramfs")
    case 0x6969: .refused(name: "NFS")
    case 0x517b, 0xff53_4d42, 0xfe53_4d42: .refused(name: "SMB")
    case 0x4d44: .refused(name: "vfat")
    case 0x2011_bab0: .refused(name: "exfat")
    case 0x794c_7630: .doubtful(name: "overlay")
    case 0x6573_5546: .doubtful(name: "FUSE")
    default: .ordinary
    }
  }
}

/// One descriptor.
final class POSIXFile: DiskFile {
  private let descriptor: FileDescriptor
  private let isDirect: Bool

  init(_ descriptor: consuming FileDescriptor, isDirect: Bool = false) {
    self.descriptor = descriptor
    self.isDirect = isDirect
  }

  func lock() throws(SystemError) -> Bool {
    while flock(descriptor.raw, LOCK_EX | LOCK_NB) != 0 {
      if errno == EWOULDBLOCK { return false }
      if errno != EINTR { throw SystemError("flock") }
    }
    return true
  }

  func byteCount() throws(SystemError) -> Int {
    var facts = stat()
    guard unsafe fstat(descriptor.raw, &facts) == 0 else { throw SystemError("fstat") }
    // A directory or a device is not a journal, whatever size it claims.
    guard facts.st_mode & S_IFMT == S_IFREG else { throw SystemError("open", code: EISDIR) }
    return Int(facts.st_size)
  }

  func read(into bytes: inout MutableSpan<UInt8>, at offset: Int) throws(SystemError) -> Int {
    try Transfer.read(into: &bytes) { part, done throws(SystemError) in
      while true {
        let count = unsafe part.withUnsafeMutableBytes { buffer in
          unsafe pread(
            descriptor.raw, buffer.baseAddress, buffer.count, off_t(offset + done))
        }
        if count >= 0 { return count }
        let failure = SystemError("pread at \(offset + done)")
        // The filesystem took the flag but not the call: read through the cache, which the opener
        // has dropped.
        guard failure.code == EINVAL, isDirect, leaveDirect() else { throw failure }
      }
    }
  }

  /// False when the descriptor was not in direct mode any more.
  private func leaveDirect() -> Bool {
    let flags = fcntl(descriptor.raw, F_GETFL)
    guard flags & penstock_o_direct != 0 else { return false }
    return fcntl(descriptor.raw, F_SETFL, flags & ~penstock_o_direct) == 0
  }

  /// Of a large write the disk gets the first pieces while the later ones are still copied into the
  /// cache; otherwise it would stand idle for as long as that takes. Measured with groups of 1 MiB:
  /// see the benchmark of appending.
  private static let pieceByteCount = 256 << 10

  func write(_ bytes: Span<UInt8>, at offset: Int) throws(SystemError) {
    var done = 0
    while bytes.count - done > Self.pieceByteCount {
      let end = done + Self.pieceByteCount
      try writePiece(bytes.extracting(done..<end), at: offset + done)
      try beginWriteback(offset + done, Self.pieceByteCount)
      done = end
    }
    try writePiece(bytes.extracting(done..<bytes.count), at: offset + done)
  }

  private func writePiece(_ bytes: Span<UInt8>, at offset: Int) throws(SystemError) {
    try Transfer.write(bytes) { part, done throws(SystemError) in
      let count = unsafe part.withUnsafeBytes { buffer in
        unsafe pwrite(descriptor.raw, buffer.baseAddress, buffer.count, off_t(offset + done))
      }
      if count < 0 { throw SystemError("pwrite at \(offset + done)") }
      return count
    }
  }

  /// sync_file_range(2) only starts the disk: it neither waits nor takes an error away from the
  /// fdatasync that follows. Where a filesystem cannot do it, nothing is lost but time.
  private func beginWriteback(_ offset: Int, _ byteCount: Int) throws(SystemError) {
    guard
      sync_file_range(descriptor.raw, off_t(offset), off_t(byteCount), penstock_begin_writeback)
        != 0
    else { return }
    let failure = SystemError("sync_file_range at \(offset)")
    if ![ENOSYS, EINVAL, EOPNOTSUPP, ESPIPE].contains(failure.code) { throw failure }
  }

  func dataSync() throws(SystemError) {
    // Not retried on EINTR or anything else: after a failed sync the pages may be marked clean, and
    // the next sync would lie (measured on ext4: ENOSPC, EIO, then success with data missing).
    if fdatasync(descriptor.raw) != 0 { throw SystemError("fdatasync") }
  }

  func fullSync() throws(SystemError) {
    if fsync(descriptor.raw) != 0 { throw SystemError("fsync") }
  }

  func dropCache() {
    _ = posix_fadvise(descriptor.raw, 0, 0, POSIX_FADV_DONTNEED)
  }

  func dropCache(of range: Range<Int>) {
    _ = posix_fadvise(descriptor.raw, range.lowerBound, range.count, POSIX_FADV_DONTNEED)
  }
}
