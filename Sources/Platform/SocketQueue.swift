import CLinux
import GatewayCore

/// What the kernel knows about a TCP socket and its peer.
package enum SocketQueue {
  /// Bytes not yet acknowledged by the peer's TCP (tcp(7), SIOCOUTQ); 0 for what is no TCP socket.
  package static func unsentByteCount(of socket: Int32) -> Int {
    max(0, Int(penstock_unsent_byte_count(socket)))
  }

  /// How long the peer has been silent in a way that cannot mean "busy": no data came, and either
  /// nothing of ours is on its way, or its TCP has stopped to confirm that too. Zero for what is no
  /// TCP socket. A slow transfer to the peer, or data that nobody has read yet, is not silence.
  package static func silence(of socket: Int32) -> Duration {
    var (data, any): (UInt32, UInt32) = (0, 0)
    guard unsafe penstock_tcp_silence(socket, &data, &any) == 0 else { return .zero }
    let isIdle = unsentByteCount(of: socket) == 0
    return .milliseconds(Int64(isIdle ? data : min(data, any)))
  }
}
