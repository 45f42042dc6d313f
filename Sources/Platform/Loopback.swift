import CLinux
import GatewayCore
import Glibc

/// TCP ports of 127.0.0.1, for private brokers of tests, demo and benchmarks.
package enum Loopback {
  /// A port that was free a moment ago: bound to 0, looked up, released. Somebody else may take it
  /// before you do: be ready to ask again.
  package static func freePort() throws(SystemError) -> UInt16 {
    let descriptor = try socket()
    var address = address(port: 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = unsafe withUnsafeMutablePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
        let bound = unsafe bind(descriptor.raw, generic, length)
        return bound != 0 ? bound : unsafe getsockname(descriptor.raw, generic, &length)
      }
    }
    guard code == 0 else { throw SystemError("find a free port on 127.0.0.1") }
    return UInt16(bigEndian: address.sin_port)
  }

  /// Whether something accepts connections on the port now. Never waits longer than `timeout`.
  package static func answers(port: UInt16, timeout: Duration = .seconds(1)) -> Bool {
    guard let descriptor = try? socket() else { return false }
    var address = address(port: port)
    let code = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
        unsafe connect(descriptor.raw, generic, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    if code == 0 { return true }
    guard errno == EINPROGRESS else { return false }
    var waiting = pollfd(fd: descriptor.raw, events: Int16(POLLOUT), revents: 0)
    let count = unsafe poll(&waiting, 1, Int32(clamping: timeout.nanoseconds / 1_000_000))
    guard count == 1 else { return false }
    var failure: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    let asked = unsafe getsockopt(descriptor.raw, SOL_SOCKET, SO_ERROR, &failure, &length)
    return asked == 0 && failure == 0
  }

  private static func socket() throws(SystemError) -> FileDescriptor {
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    let raw = Glibc.socket(AF_INET, kind, 0)
    guard raw >= 0 else { throw SystemError("open a socket") }
    return FileDescriptor(owning: raw)
  }

  private static func address(port: UInt16) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr = in_addr(s_addr: in_addr_t(0x7f00_0001).bigEndian)
    return address
  }
}
