import CLinux

/// What the kernel still holds of what was written to a socket.
package enum SocketQueue {
  /// Bytes not yet acknowledged by the peer's TCP (tcp(7), SIOCOUTQ); 0 for what is no TCP socket.
  package static func unsentByteCount(of socket: Int32) -> Int {
    max(0, Int(penstock_unsent_byte_count(socket)))
  }
}
