import Glibc
import Platform

/// One connection of a scripted peer; of its thread only.
package final class MQTTPeerLink {
  package enum Cut: Sendable {
    /// FIN: the peer went away in order.
    case close
    /// RST: what was in flight is gone.
    case reset
  }

  /// 1, 2, … in the order in which they were accepted.
  package let number: Int
  /// Of CONNECT; empty before it.
  package private(set) var clientID = ""
  package private(set) var version = MQTTPacket.Version.v5
  /// QoS 1 messages the client takes un-acknowledged.
  package private(set) var receiveMaximum = 1
  private let descriptor: FileDescriptor
  private var reader = MQTTPacketReader()
  private var outgoing: [UInt8] = []
  private var sentByteCount = 0
  private var cutAt: (byteCount: Int, cut: Cut)?
  private var hasEnded = false

  init(_ descriptor: consuming FileDescriptor, number: Int) {
    self.descriptor = descriptor
    self.number = number
  }

  var raw: Int32 { descriptor.raw }
  var isOpen: Bool { !hasEnded }
  var wantsWrite: Bool { !outgoing.isEmpty }

  // MARK: - For the role

  package func send(_ packet: MQTTPacket) { send(packet.encoded(version)) }

  /// Bytes as they are: what no codec would make.
  package func send(_ bytes: [UInt8]) {
    if !hasEnded { outgoing += bytes }
  }

  /// Ends the link after exactly `byteCount` more bytes have been sent, be it in the middle of a
  /// packet.
  package func cut(_ cut: Cut, afterByteCount byteCount: Int) {
    cutAt = (sentByteCount + byteCount, cut)
  }

  /// Ends the link now. What was queued is not sent.
  package func cut(_ cut: Cut) {
    guard !hasEnded else { return }
    if cut == .reset {
      var linger = linger(l_onoff: 1, l_linger: 0)
      unsafe setsockopt(
        raw, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    }
    hasEnded = true
  }

  // MARK: - For the loop

  func read() {
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while !hasEnded {
      let count = unsafe recv(raw, &chunk, chunk.count, 0)
      if count > 0 {
        reader.append(chunk[..<count])
        continue
      }
      if count < 0 && errno == EINTR { continue }
      if count < 0 && errno == EAGAIN { return }
      hasEnded = true
    }
  }

  func nextPacket() throws(MQTTPacketError) -> MQTTPacket? {
    let packet = try reader.next()
    if case .connect(let connect) = packet {
      (clientID, version) = (connect.clientID, connect.version)
      receiveMaximum = Int(connect.receiveMaximum)
    }
    return packet
  }

  func flush() {
    while !hasEnded {
      let room = cutAt.map { $0.byteCount - sentByteCount } ?? .max
      if room <= 0, let cutAt { return cut(cutAt.cut) }
      if outgoing.isEmpty { return }
      let count = unsafe Glibc.send(raw, outgoing, min(outgoing.count, room), Int32(MSG_NOSIGNAL))
      if count < 0 {
        if errno == EINTR { continue }
        if errno != EAGAIN { hasEnded = true }
        return
      }
      outgoing.removeFirst(count)
      sentByteCount += count
    }
  }
}
