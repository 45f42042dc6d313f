import CLinux
import Glibc

/// A listening stream socket with a name in the filesystem (unix(7)) that only its owner and root
/// can connect to. The name goes with the owner of this value.
package struct UnixListener: ~Copyable, Sendable {
  private let descriptor: FileDescriptor
  private let path: String
  /// Of the name we made: another process may have put its own there since.
  private let inode: UInt64

  /// Clients that may wait to be accepted.
  private static let waitingMax: Int32 = 8

  /// Binds `path` with mode 0600. The name that a dead process left behind is replaced; one on
  /// which somebody listens, and anything that is no socket, is left alone.
  package init(path: String) throws(SystemError) {
    let descriptor = try UnixSocket.make()
    // Linux makes the name with the mode of the socket: there is no moment at which others could
    // connect.
    guard fchmod(descriptor.raw, 0o600) == 0 else { throw SystemError("fchmod of a socket") }
    var code = try UnixSocket.bind(descriptor.raw, path)
    if code == EADDRINUSE {
      try UnixListener.removeLeftover(path)
      code = try UnixSocket.bind(descriptor.raw, path)
    }
    guard code == 0 else { throw SystemError("bind \(path)", code: code) }
    let inode = try FileStatus(path: path).inode
    guard listen(descriptor.raw, Self.waitingMax) == 0 else { throw SystemError("listen \(path)") }
    self.descriptor = descriptor
    self.path = path
    self.inode = inode
  }

  private static func removeLeftover(_ path: String) throws(SystemError) {
    guard try FileStatus(path: path).isSocket else {
      throw SystemError("bind \(path)", code: EEXIST)
    }
    do throws(SystemError) {
      _ = try UnixSocket.connect(path: path)
    } catch {
      guard error.code == ECONNREFUSED else { throw error }
      return try File.remove(path)
    }
    throw SystemError("bind \(path)", code: EADDRINUSE)
  }

  /// For `Poll.wait`.
  package var pollDescriptor: Int32 { descriptor.raw }

  /// The next client; nil when none waits now. Does not block, nor does what it returns.
  /// - Throws: when the process or the machine has no descriptor to give, for one.
  package func accept() throws(SystemError) -> UnixStream? {
    let raw = Glibc.accept(descriptor.raw, nil, nil)
    if raw >= 0 {
      let accepted = FileDescriptor(owning: raw)
      try UnixSocket.setFlags(of: accepted)
      return UnixStream(accepted)
    }
    switch errno {
    case EAGAIN, EINTR, ECONNABORTED: return nil
    default: throw SystemError("accept")
    }
  }

  deinit {
    if let now = try? FileStatus(path: path), now.inode == inode { try? File.remove(path) }
  }
}

/// One connection of a Unix socket; never blocks. SIGPIPE never comes of it.
package struct UnixStream: ~Copyable, Sendable {
  private let descriptor: FileDescriptor

  fileprivate init(_ descriptor: consuming FileDescriptor) { self.descriptor = descriptor }

  /// Connects to the listener at `path`.
  package init(connecting path: String) throws(SystemError) {
    descriptor = try UnixSocket.connect(path: path)
  }

  /// For `Poll.wait`.
  package var pollDescriptor: Int32 { descriptor.raw }

  /// Reads once.
  /// - Returns: how many bytes came; 0 at the end; nil when there is nothing now.
  package func read(into bytes: inout [UInt8]) throws(SystemError) -> Int? {
    do throws(SystemError) {
      return try descriptor.read(into: &bytes)
    } catch {
      guard error.code == EAGAIN else { throw error }
      return nil
    }
  }

  /// Writes once.
  /// - Returns: how many bytes went; 0 when there is no room now.
  package func write(_ bytes: ArraySlice<UInt8>) throws(SystemError) -> Int {
    let count = unsafe bytes.withUnsafeBytes {
      unsafe send(descriptor.raw, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
    }
    if count >= 0 { return count }
    guard errno == EAGAIN || errno == EINTR else { throw SystemError("write to a socket") }
    return 0
  }
}

private enum UnixSocket {
  static func make() throws(SystemError) -> FileDescriptor {
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let raw = socket(AF_UNIX, kind, 0)
    guard raw >= 0 else { throw SystemError("socket") }
    return FileDescriptor(owning: raw)
  }

  static func setFlags(of descriptor: borrowing FileDescriptor) throws(SystemError) {
    guard fcntl(descriptor.raw, F_SETFL, O_NONBLOCK) == 0,
      fcntl(descriptor.raw, F_SETFD, FD_CLOEXEC) == 0
    else { throw SystemError("fcntl of a socket") }
  }

  /// A connect of this kind ends at once: accepted, refused, or EAGAIN when the queue is full.
  static func connect(path: String) throws(SystemError) -> FileDescriptor {
    let descriptor = try make()
    let raw = descriptor.raw
    let code = try reaching(path) { name throws(SystemError) in
      try unsafe withAddress(name) { address, length in
        unsafe Glibc.connect(raw, address, length) == 0 ? 0 : errno
      }
    }
    guard code == 0 else { throw SystemError("connect \(path)", code: code) }
    return descriptor
  }

  /// - Returns: errno; 0 when it is bound.
  static func bind(_ raw: Int32, _ path: String) throws(SystemError) -> Int32 {
    try reaching(path) { name throws(SystemError) in
      try unsafe withAddress(name) { address, length in
        unsafe Glibc.bind(raw, address, length) == 0 ? 0 : errno
      }
    }
  }

  /// An address has room for 107 bytes; a longer path is reached through its directory, which /proc
  /// shows under a short name.
  private static func reaching(
    _ path: String, _ body: (String) throws(SystemError) -> Int32
  ) throws(SystemError) -> Int32 {
    guard path.utf8.count >= MemoryLayout.size(ofValue: sockaddr_un().sun_path) else {
      return try body(path)
    }
    let directory = try File.open(File.directoryName(of: path), flags: O_RDONLY | O_DIRECTORY)
    let base = path.split(separator: "/").last ?? ""
    let code = try body("/proc/self/fd/\(directory.raw)/\(base)")
    try directory.close()
    return code
  }

  private static func withAddress(
    _ name: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) throws(SystemError) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    guard name.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw SystemError("address \(name)", code: ENAMETOOLONG)
    }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: name.utf8) }
    return unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }
}
