/// A central broker with one consumer behind it: it hands every PUBLISH to a closure and answers as
/// it is told.
package struct CentralRole: MQTTPeerRole {
  package enum Answer: Sendable, Hashable {
    /// PUBACK with this reason code; 0 is success.
    case code(UInt8)
    case silence
    case cut(MQTTPeerLink.Cut)
  }

  /// Decides about each PUBLISH, after it was handed over. The count includes it.
  package var answer: @Sendable (MQTTPacket.Publish, _ count: Int) -> Answer = { _, _ in .code(0) }
  /// What CONNECT is answered with.
  package var greeting = MQTTPacket.ConnectAcknowledged()
  /// Refuses every connection at once, as a broker that is away.
  package var isAway = false
  package private(set) var publishCount = 0
  private let record: @Sendable (MQTTPacket.Publish) -> Void

  /// - Parameter record: D, on the peer's thread, before the PUBACK is sent.
  package init(_ record: @escaping @Sendable (MQTTPacket.Publish) -> Void) {
    self.record = record
  }

  package mutating func received(_ packet: MQTTPacket, on link: MQTTPeerLink) {
    if isAway { return link.cut(.close) }
    switch packet {
    case .connect: link.send(.connectAcknowledged(greeting))
    case .publish(let publish):
      publishCount += 1
      record(publish)
      switch answer(publish, publishCount) {
      case .code(let code):
        if publish.id != 0 { link.send(.publishAcknowledged(id: publish.id, code: code)) }
      case .silence: break
      case .cut(let cut): link.cut(cut)
      }
    case .subscribe(let id, let filters):
      link.send(.subscribeAcknowledged(id: id, codes: filters.map { _ in 1 }))
    case .pingRequest: link.send(.pingResponse)
    case .disconnect: link.cut(.close)
    default: break
    }
  }

  package mutating func turn(on link: MQTTPeerLink) {
    if isAway { link.cut(.close) }
  }

  package mutating func ended(_ link: MQTTPeerLink) {}
}
