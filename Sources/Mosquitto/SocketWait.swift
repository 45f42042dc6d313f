import GatewayCore
import Glibc
import Platform

/// Waiting for one socket to become connected.
enum SocketWait {
  /// Blocks until a started TCP connect has ended or the deadline is over. Returns 0 when
  /// connected, else errno: ETIMEDOUT at the deadline, or what the connect failed with (SO_ERROR).
  /// `lastCode` is errno after the start: with TLS the library writes at once, which takes the
  /// socket's error away.
  static func connected(
    _ socket: Int32, until deadline: MonotonicTime, lastCode: Int32
  ) -> Int32 {
    while true {
      let left = max(deadline.since(Clock.monotonic()).nanoseconds, 0)
      // Rounded up, so that the last millisecond is waited for and not spun through.
      let milliseconds = Int32(clamping: (left + 999_999) / 1_000_000)
      var entry = pollfd(fd: socket, events: Int16(POLLOUT), revents: 0)
      let count = unsafe poll(&entry, 1, milliseconds)
      if count < 0 {
        if errno == EINTR { continue }
        return errno
      }
      if count == 0 { return ETIMEDOUT }
      var code: Int32 = 0
      var size = socklen_t(MemoryLayout<Int32>.size)
      let answer = unsafe getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &size)
      if answer != 0 || code != 0 { return answer == 0 ? code : errno }
      let isConnected = entry.revents & Int16(POLLHUP | POLLERR) == 0
      return isConnected ? 0 : networkCodes.contains(lastCode) ? lastCode : ENOTCONN
    }
  }

  private static let networkCodes = [
    ECONNREFUSED, ECONNRESET, ENETUNREACH, EHOSTUNREACH, ETIMEDOUT, ENETDOWN, EHOSTDOWN,
  ]

  /// Whether the peer has closed the connection, or it broke. Takes nothing from the stream.
  static func isEnded(_ socket: Int32) -> Bool {
    var byte: UInt8 = 0
    let count = unsafe recv(socket, &byte, 1, Int32(MSG_PEEK | MSG_DONTWAIT))
    return count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)
  }

  /// Whether `host` is an address already, so that there is nothing to choose from.
  static func isAddress(_ host: String) -> Bool {
    var room = in6_addr()
    return unsafe inet_pton(AF_INET, host, &room) == 1 || inet_pton(AF_INET6, host, &room) == 1
  }
}
