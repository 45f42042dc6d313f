import GatewayCore
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
  /// Of `outgoing`, what has left.
  private var outgoingOffset = 0
  private var sentByteCount = 0
  private var receivedByteCount = 0
  private var cutAt: (byteCount: Int, cut: Cut)?
  private var readCutAt: (byteCount: Int, cut: Cut)?
  private var hasEnded = false
  /// Bytes taken in a second, as by a slow receiver; nil takes what comes. The kernel's buffers
  /// take more than that on top.
  package var readRate: Int?
  /// When how much may be read again, with a `readRate`.
  private var readDebtUntil = MonotonicTime(nanoseconds: 0)
  /// Changes the bytes of each packet before it is queued: for streams that are not quite MQTT.
  package var alter: (([UInt8]) -> [UInt8])?

  init(_ descriptor: consuming FileDescriptor, number: Int) {
    self.descriptor = descriptor
    self.number = number
  }

  var raw: Int32 { descriptor.raw }
  var isOpen: Bool { !hasEnded }
  var wantsWrite: Bool { !outgoing.isEmpty }
  /// When the link wants to be read again although nothing new may have come; nil: at once.
  var restsUntil: MonotonicTime? { readRate == nil ? nil : readDebtUntil }

  // MARK: - For the role

  package func send(_ packet: MQTTPacket) { send(packet.encoded(version)) }

  /// Bytes as they are: what no codec would make.
  package func send(_ bytes: [UInt8]) {
    if !hasEnded { outgoing += alter?(bytes) ?? bytes }
  }

  /// Ends the link after exactly `byteCount` more bytes have been sent, be it in the middle of a
  /// packet.
  package func cut(_ cut: Cut, afterByteCount byteCount: Int) {
    cutAt = (sentByteCount + byteCount, cut)
  }

  /// Ends the link in order once all that is queued has been sent.
  package func finish() {
    cutAt = (sentByteCount + outgoing.count - outgoingOffset, .close)
  }

  /// Ends the link after exactly `byteCount` more bytes have been received, be it in the middle of
  /// a packet. What is whole until there is still handed over.
  package func cut(_ cut: Cut, afterReceivedByteCount byteCount: Int) {
    readCutAt = (receivedByteCount + byteCount, cut)
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
      let room = readCutAt.map { $0.byteCount - receivedByteCount } ?? .max
      if room <= 0, let readCutAt { return cut(readCutAt.cut) }
      let allowed = readAllowance()
      if allowed == 0 { return }
      let count = unsafe recv(raw, &chunk, min(chunk.count, room, allowed), 0)
      if count > 0 {
        reader.append(chunk[..<count])
        receivedByteCount += count
        if let readRate {
          readDebtUntil =
            max(readDebtUntil, Clock.monotonic())
            + .nanoseconds(Int64(count) * 1_000_000_000 / Int64(readRate))
        }
        continue
      }
      if count < 0 && errno == EINTR { continue }
      if count < 0 && errno == EAGAIN { return }
      hasEnded = true
    }
  }

  /// With a rate: nothing until the last read is paid for, then a twentieth of a second's worth.
  private func readAllowance() -> Int {
    guard let readRate else { return .max }
    return Clock.monotonic() < readDebtUntil ? 0 : max(1, readRate / 20)
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
      let count = unsafe outgoing.withUnsafeBytes { bytes in
        unsafe Glibc.send(
          raw, bytes.baseAddress?.advanced(by: outgoingOffset),
          min(bytes.count - outgoingOffset, room), Int32(MSG_NOSIGNAL))
      }
      if count < 0 {
        if errno == EINTR { continue }
        if errno != EAGAIN { hasEnded = true }
        return
      }
      outgoingOffset += count
      sentByteCount += count
      if outgoingOffset == outgoing.count {
        outgoing.removeAll(keepingCapacity: true)
        outgoingOffset = 0
      }
    }
  }
}
