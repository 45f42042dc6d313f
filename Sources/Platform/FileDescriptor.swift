import Glibc

/// Owns one descriptor. Closed exactly once: by `close()`, which can report an error, or by deinit.
package struct FileDescriptor: ~Copyable, Sendable {
  /// Borrowed; valid while the owner lives.
  package let raw: Int32

  package init(owning raw: Int32) {
    precondition(raw >= 0, "a descriptor that was opened")
    self.raw = raw
  }

  /// Close, and say so when the kernel reports a late write error (close(2)).
  package consuming func close() throws(SystemError) {
    let raw = self.raw
    discard self
    // EINTR: on Linux the descriptor is gone all the same.
    if Glibc.close(raw) != 0 && errno != EINTR { throw SystemError("close") }
  }

  /// Gives the ownership away: the caller closes it.
  package consuming func relinquish() -> Int32 {
    let raw = self.raw
    discard self
    return raw
  }

  /// Reads once into `bytes` (read(2), retried on EINTR).
  /// - Returns: how many bytes came; 0 at the end.
  package func read(into bytes: inout [UInt8]) throws(SystemError) -> Int {
    while true {
      let count = unsafe Glibc.read(raw, &bytes, bytes.count)
      if count >= 0 { return count }
      if errno != EINTR { throw SystemError("read") }
    }
  }

  deinit { _ = Glibc.close(raw) }
}

/// Small files read or replaced as a whole. Not for the journal.
package enum File {
  /// The bytes of a file of at most `byteCountMax` bytes.
  package static func readSmall(_ path: String, byteCountMax: Int) throws(SystemError) -> [UInt8] {
    let descriptor = try open(path, flags: O_RDONLY)
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while true {
      let count: Int
      do throws(SystemError) {
        count = try descriptor.read(into: &chunk)
      } catch {
        throw SystemError("read \(path)", code: error.code)
      }
      if count == 0 { return bytes }
      if bytes.count + count > byteCountMax { throw SystemError("read \(path)", code: EFBIG) }
      bytes.append(contentsOf: chunk[..<count])
    }
  }

  /// Replaces `path` so that after a crash either the old or the new content is there: temporary
  /// file in the same directory, fsync, rename, fsync of the directory. Mode 0600. Without the
  /// syncs where `isSynced` is false: for what need not live longer than the machine is on.
  package static func replace(
    _ path: String, with bytes: [UInt8], isSynced: Bool = true
  ) throws(SystemError) {
    let temporary = path + ".new"
    let descriptor = try open(temporary, flags: O_WRONLY | O_CREAT | O_TRUNC, mode: 0o600)
    var written = 0
    while written < bytes.count {
      let count = unsafe bytes[written...].withUnsafeBytes {
        unsafe write(descriptor.raw, $0.baseAddress, $0.count)
      }
      if count < 0 {
        if errno == EINTR { continue }
        throw SystemError("write \(temporary)")
      }
      written += count
    }
    if isSynced && fsync(descriptor.raw) != 0 { throw SystemError("fsync \(temporary)") }
    if unsafe rename(temporary, path) != 0 { throw SystemError("rename \(temporary) to \(path)") }
    if isSynced { try syncDirectory(of: path) }
  }

  /// Makes a directory for this user alone; one that is there is fine.
  package static func makeDirectory(_ path: String) throws(SystemError) {
    if unsafe mkdir(path, 0o700) != 0 && errno != EEXIST { throw SystemError("mkdir \(path)") }
  }

  /// Removes a name; one that is not there is fine.
  package static func remove(_ path: String) throws(SystemError) {
    if unsafe unlink(path) != 0 && errno != ENOENT { throw SystemError("unlink \(path)") }
  }

  /// Makes a name in the directory that holds `path` durable.
  package static func syncDirectory(of path: String) throws(SystemError) {
    let directory = directoryName(of: path)
    let descriptor = try open(directory, flags: O_RDONLY | O_DIRECTORY)
    if fsync(descriptor.raw) != 0 { throw SystemError("fsync \(directory)") }
  }

  /// open(2) with O_CLOEXEC always on, retried on EINTR.
  package static func open(
    _ path: String, flags: Int32, mode: UInt32 = 0
  ) throws(SystemError) -> FileDescriptor {
    while true {
      let raw = unsafe Glibc.open(path, flags | O_CLOEXEC, mode)
      if raw >= 0 { return FileDescriptor(owning: raw) }
      if errno != EINTR { throw SystemError("open \(path)") }
    }
  }

  /// The part before the last slash; `.` for a bare name, `/` for the root.
  package static func directoryName(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return slash == path.utf8.startIndex ? "/" : String(path[..<slash])
  }
}

/// How many descriptors this process may have open at a time (getrlimit(2), RLIMIT_NOFILE, soft);
/// nil when the system does not say. No limit is a very large number.
package var descriptorCountMax: Int? {
  var limit = rlimit()
  guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
    return nil
  }
  return Int(clamping: limit.rlim_cur)
}
