package import GatewayCore
import Platform

/// A central broker with one consumer behind it: it hands every PUBLISH to a closure and answers as
/// it is told.
package struct CentralRole: MQTTPeerRole {
  package enum Answer: Sendable, Hashable {
    /// PUBACK with this reason code; 0 is success.
    case code(UInt8)
    case silence
    case cut(MQTTPeerLink.Cut)
  }

  /// Decides about each PUBLISH. The count includes it.
  package var answer: @Sendable (MQTTPacket.Publish, _ count: Int) -> Answer = { _, _ in .code(0) }
  /// What CONNECT is answered with.
  package var greeting = MQTTPacket.ConnectAcknowledged()
  /// Refuses every connection at once, as a broker that is away.
  package var isAway = false
  /// Bytes that each link takes in a second; nil takes all.
  package var readRate: Int?
  /// Each new link, before its CONNACK.
  package var joined: @Sendable (MQTTPeerLink) -> Void = { _ in }
  /// Ends each link with a DISCONNECT of this reason (MQTT 5) after its first PUBLISH.
  package var farewell: UInt8?
  package private(set) var publishCount = 0
  /// When each CONNECT came.
  package private(set) var connectTimes: [MonotonicTime] = []
  private let record: @Sendable (MQTTPacket.Publish) -> Void

  /// - Parameter record: D, on the peer's thread, before the PUBACK is sent. What is refused, or
  ///   has no subscriber (0x10), does not belong to it.
  package init(_ record: @escaping @Sendable (MQTTPacket.Publish) -> Void) {
    self.record = record
  }

  package mutating func received(_ packet: MQTTPacket, on link: MQTTPeerLink) {
    if isAway { return link.cut(.close) }
    switch packet {
    case .connect:
      connectTimes.append(Clock.monotonic())
      link.readRate = readRate
      joined(link)
      link.send(.connectAcknowledged(greeting))
    case .publish(let publish): received(publish, on: link)
    case .subscribe(let id, let filters):
      link.send(.subscribeAcknowledged(id: id, codes: filters.map { _ in 1 }))
    case .pingRequest: link.send(.pingResponse)
    case .disconnect: link.cut(.close)
    default: break
    }
  }

  private mutating func received(_ publish: MQTTPacket.Publish, on link: MQTTPeerLink) {
    publishCount += 1
    let answer = answer(publish, publishCount)
    switch answer {
    case .code(0), .silence, .cut: record(publish)
    // MQTT 3.1.1 has no word for a refusal: it acknowledges and drops.
    case .code: break
    }
    if let farewell {
      if link.version == .v5 { link.send(.disconnect(code: farewell)) }
      return link.finish()
    }
    switch answer {
    case .code(let code):
      if publish.id != 0 { link.send(.publishAcknowledged(id: publish.id, code: code)) }
    case .silence: break
    case .cut(let cut): link.cut(cut)
    }
  }

  package mutating func turn(on link: MQTTPeerLink) {
    if isAway { link.cut(.close) }
  }

  package mutating func ended(_ link: MQTTPeerLink) {}
}
