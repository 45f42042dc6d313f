import Glibc
package import Platform

/// A listening socket on a port of its own, on loopback unless told otherwise.
package struct TCPListener: ~Copyable, Sendable {
  package let port: UInt16
  package let descriptor: FileDescriptor

  /// - Parameters:
  ///   - address: IPv4, of this machine.
  ///   - port: 0 takes a free one.
  ///   - queueLength: connections that wait to be accepted; 0 lets one wait and hangs the next.
  package init(
    address text: String = "127.0.0.1", port: UInt16 = 0, queueLength: Int32 = 8
  ) throws(SystemError) {
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    let raw = socket(AF_INET, kind, 0)
    guard raw >= 0 else { throw SystemError("open a socket") }
    let descriptor = FileDescriptor(owning: raw)
    // A test that listens again on the port of its earlier peer must not wait for TIME_WAIT.
    var yes: Int32 = 1
    unsafe setsockopt(raw, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    guard unsafe inet_pton(AF_INET, text, &address.sin_addr) == 1 else {
      throw SystemError("take \(text) for an address", code: EINVAL)
    }
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = unsafe withUnsafeMutablePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
        let bound = unsafe bind(raw, generic, length)
        return bound != 0 ? bound : unsafe getsockname(raw, generic, &length)
      }
    }
    guard code == 0, listen(raw, queueLength) == 0 else {
      throw SystemError("listen on \(text):\(port)")
    }
    self.port = UInt16(bigEndian: address.sin_port)
    self.descriptor = descriptor
  }

  /// The next connection, non-blocking, without delay for small packets; nil when none waits or it
  /// has gone again. Never waits.
  package func accept() -> FileDescriptor? {
    var entry = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
    guard unsafe poll(&entry, 1, 0) > 0 else { return nil }
    let raw = Glibc.accept(descriptor.raw, nil, nil)
    guard raw >= 0 else { return nil }
    _ = fcntl(raw, F_SETFD, FD_CLOEXEC)
    _ = fcntl(raw, F_SETFL, O_NONBLOCK)
    var yes: Int32 = 1
    unsafe setsockopt(
      raw, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
    return FileDescriptor(owning: raw)
  }
}
