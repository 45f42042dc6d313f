import CLinux
import GatewayCore
import Glibc

/// What the kernel knows about a TCP socket and its peer.
package enum SocketQueue {
  /// Bytes not yet acknowledged by the peer's TCP (tcp(7), SIOCOUTQ); 0 for what is no TCP socket.
  package static func unsentByteCount(of socket: Int32) -> Int {
    max(0, Int(penstock_unsent_byte_count(socket)))
  }

  /// Bytes that were written and have not left for the first time: the link is full. 0 for what is
  /// no TCP socket.
  package static func waitingByteCount(of socket: Int32) -> Int {
    var counts = penstock_tcp_counts()
    guard unsafe penstock_count_tcp(socket, &counts) == 0 else { return 0 }
    return Int(counts.unsent)
  }

  /// From now on a write takes nothing while more than `byteCount` bytes have not been sent for the
  /// first time (tcp(7), TCP_NOTSENT_LOWAT): they stay with the writer, who can still decide what
  /// goes first. Does nothing for what is no TCP socket.
  package static func limitUnsent(of socket: Int32, to byteCount: Int) {
    var value = Int32(clamping: byteCount)
    _ = unsafe setsockopt(
      socket, Int32(IPPROTO_TCP), TCP_NOTSENT_LOWAT, &value,
      socklen_t(MemoryLayout<Int32>.size))
  }

  /// From now on so many bytes at most are on their way: written and not acknowledged by the peer's
  /// TCP. The kernel counts them with what it needs to keep them, has a least (4.5 KiB) and a
  /// most (`net.core.wmem_max`) of its own, and takes nothing back that it has.
  package static func limitUnderWay(of socket: Int32, to byteCount: Int) {
    // It doubles what it is told, to make room for what it keeps beside the bytes.
    var value = Int32(clamping: byteCount)
    _ = unsafe setsockopt(
      socket, SOL_SOCKET, SO_SNDBUF, &value, socklen_t(MemoryLayout<Int32>.size))
  }

  /// How long bytes take to the peer and their acknowledgement back: of late, smoothed, and at
  /// least, in the last five minutes. Nil for what is no TCP socket, or has not measured yet.
  package static func roundTrip(of socket: Int32) -> (now: Duration, shortest: Duration)? {
    var counts = penstock_tcp_counts()
    guard unsafe penstock_count_tcp(socket, &counts) == 0, counts.round_trip > 0,
      counts.shortest_round_trip < .max
    else { return nil }
    return (
      .microseconds(Int64(counts.round_trip)), .microseconds(Int64(counts.shortest_round_trip))
    )
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

/// What a TCP connection has carried.
package enum SocketTraffic {
  /// Bytes that the peer's TCP has acknowledged; nil for what is no TCP socket.
  package static func acknowledgedByteCount(of socket: Int32) -> Int? {
    var counts = penstock_tcp_counts()
    guard unsafe penstock_count_tcp(socket, &counts) == 0 else { return nil }
    return Int(clamping: counts.acknowledged)
  }

  /// Bytes in both directions since the connection was begun, as a carrier counts them: payload,
  /// what TCP sent again, and the headers of IP and TCP with their usual options. Nil for what is
  /// no TCP socket.
  package static func wireByteCount(of socket: Int32) -> Int? {
    var counts = penstock_tcp_counts()
    guard unsafe penstock_count_tcp(socket, &counts) == 0 else { return nil }
    // 20 bytes of TCP and 12 of its timestamps, beside those of IP.
    let headerByteCount = (counts.is_ipv6 ? 40 : 20) + 32
    return Int(clamping: counts.sent) + Int(clamping: counts.received)
      + (Int(counts.segments_sent) + Int(counts.segments_received)) * headerByteCount
  }
}
