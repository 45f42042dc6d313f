import GatewayCore
import Glibc
package import Platform

/// Tells systemd about this process (sd_notify(3)): datagrams of `NAME=value` lines to the socket
/// named by NOTIFY_SOCKET. Without that variable every call does nothing, so that callers need not
/// ask where they run. Any thread; never blocks.
package struct SystemdNotifier: Sendable {
  package static let statusByteCountMax = 1024

  /// The path of a socket, or `@name` for the abstract name space.
  private let socketName: String?
  /// How often systemd wants to hear WATCHDOG=1; nil when it does not watch us.
  package let watchdogPeriod: Duration?

  /// Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
  package init(environment: (String) -> String? = { Environment.value(of: $0) }) {
    socketName = environment("NOTIFY_SOCKET")
    // WATCHDOG_PID names the process that is watched; it may be our parent.
    let isOurs = environment("WATCHDOG_PID").map { Int32($0) == getpid() } ?? true
    if isOurs, let microseconds = environment("WATCHDOG_USEC").flatMap({ Int64($0) }),
      microseconds > 0
    {
      watchdogPeriod = .microseconds(microseconds)
    } else {
      watchdogPeriod = nil
    }
  }

  /// Whether somebody listens.
  package var isActive: Bool { socketName != nil }

  /// Start-up is complete: every journal is open.
  package func ready() throws(SystemError) { try send("READY=1") }

  package func stopping() throws(SystemError) { try send("STOPPING=1") }

  package func watchdog() throws(SystemError) { try send("WATCHDOG=1") }

  /// Start-up or stop needs at least this long from now on.
  package func extendTimeout(by duration: Duration) throws(SystemError) {
    try send("EXTEND_TIMEOUT_USEC=\(max(duration.nanoseconds / 1000, 1))")
  }

  /// What `systemctl status` shows. Cut at `statusByteCountMax`, made one line.
  package func status(_ text: String) throws(SystemError) {
    var line = ""
    for scalar in TextSafety.prefix(text, byteCountMax: Self.statusByteCountMax).unicodeScalars {
      line.unicodeScalars.append(TextSafety.mustEscape(scalar) ? " " : scalar)
    }
    try send("STATUS=" + line)
  }

  /// One datagram. ENOBUFS and EAGAIN (systemd is behind) are errors like others: who has something
  /// to say that counts says it again.
  package func send(_ state: String) throws(SystemError) {
    guard let socketName else { return }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var path = Array(socketName.utf8)
    guard let start = path.first, start == UInt8(ascii: "/") || start == UInt8(ascii: "@"),
      path.count < MemoryLayout.size(ofValue: address.sun_path)
    else { throw SystemError("notify \(socketName)", code: EINVAL) }
    if start == UInt8(ascii: "@") { path[0] = 0 }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path) }
    // An abstract name has no terminator: every byte up to the length counts (unix(7)).
    let length = socklen_t(MemoryLayout<sa_family_t>.size + path.count + (path[0] == 0 ? 0 : 1))

    let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let raw = socket(AF_UNIX, type, 0)
    guard raw >= 0 else { throw SystemError("socket") }
    let descriptor = FileDescriptor(owning: raw)
    let message = Array(state.utf8)
    let sent = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe sendto(
          descriptor.raw, message, message.count,
          Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL),
          $0, length)
      }
    }
    if sent != message.count { throw SystemError("notify \(socketName)") }
  }
}
