import Glibc

/// What stat(2) tells about a name, as far as we ask.
package struct FileStatus: Hashable, Sendable {
  package var isRegularFile: Bool
  package var isDirectory: Bool
  package var isSocket: Bool
  /// The twelve permission bits: `0o640` and the like.
  package var permissions: UInt32
  package var byteCount: Int
  /// The device the file is on: differs from its directory's where something is mounted.
  package var device: UInt64
  /// Differs when another file has taken the name.
  package var inode: UInt64

  /// Follows symbolic links.
  package init(path: String) throws(SystemError) {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { throw SystemError("stat \(path)") }
    isRegularFile = status.st_mode & S_IFMT == S_IFREG
    isDirectory = status.st_mode & S_IFMT == S_IFDIR
    isSocket = status.st_mode & S_IFMT == S_IFSOCK
    permissions = UInt32(status.st_mode & 0o7777)
    byteCount = Int(status.st_size)
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
  }
}
