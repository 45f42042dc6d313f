/// A field broker with a single subscriber, the gateway, and one endless supply of messages: number
/// 0, 1, 2, … Keeps the session as a broker does: what was sent and not acknowledged is sent again,
/// in order, with DUP and the old packet identifier, when the session is back.
///
///     S  sent: numbers below `sentCount`
///     A  acknowledged: the PUBACK, with a reason code below 0x80, has *arrived*
package struct FieldRole: MQTTPeerRole {
  package struct Message: Sendable, Hashable {
    package var topic: String
    package var payload: [UInt8]

    package init(topic: String, payload: [UInt8]) {
      self.topic = topic
      self.payload = payload
    }
  }

  /// What a test hears at once, on the peer's thread.
  package struct Observer: Sendable {
    /// Before the message leaves for the first time.
    package var sent: @Sendable (_ number: Int, Message) -> Void = { _, _ in }
    /// The PUBACK has arrived; `count` is the size of A with it.
    package var acknowledged: @Sendable (_ number: Int, _ count: Int) -> Void = { _, _ in }
    /// A PUBACK with a reason code of refusal has arrived.
    package var refused: @Sendable (_ number: Int, _ code: UInt8) -> Void = { _, _ in }

    package init() {}
  }

  /// Messages with a number below it may leave: 0 sends nothing.
  package var limit = 0
  /// Un-acknowledged messages at most; the client's Receive Maximum holds as well.
  package var windowMax = 200
  package var observer = Observer()
  /// What CONNECT is answered with, if it is refused.
  package var refusal: UInt8?
  /// MQTT 5 properties of CONNACK, encoded.
  package var connectProperties: [UInt8] = []
  /// What SUBSCRIBE is answered with for each filter.
  package var grantedCode: UInt8 = 1
  /// Says nothing any more, not even to a ping, and reads on.
  package var isSilent = false

  package private(set) var sentCount = 0
  package private(set) var acknowledgedCount = 0
  /// PUBLISH packets with DUP.
  package private(set) var repeatCount = 0
  package private(set) var connectCount = 0
  /// Filters of the session.
  package private(set) var filters: [String] = []
  private let makeMessage: @Sendable (Int) -> Message
  private var inFlight: [InFlight] = []
  private var hasSession = false
  private var subscribedLink: Int?
  private var lastID: UInt16 = 0

  private struct InFlight {
    let number: Int
    let id: UInt16
  }

  /// - Parameter makeMessage: message number `n`, the same each time.
  package init(_ makeMessage: @escaping @Sendable (Int) -> Message) {
    self.makeMessage = makeMessage
  }

  /// The client is connected, and messages may flow.
  package var isSubscribed: Bool { subscribedLink != nil }

  /// All messages that may leave have left and are acknowledged.
  package var isIdle: Bool { sentCount >= limit && inFlight.isEmpty }

  package mutating func received(_ packet: MQTTPacket, on link: MQTTPeerLink) {
    if isSilent { return }
    switch packet {
    case .connect(let connect): connected(connect, on: link)
    case .subscribe(let id, let wanted):
      filters += wanted.filter { !filters.contains($0) }
      link.send(
        .subscribeAcknowledged(id: id, codes: wanted.map { _ in grantedCode }))
      subscribedLink = link.number
    case .unsubscribe(let id, let unwanted):
      filters.removeAll { unwanted.contains($0) }
      link.send(.unsubscribeAcknowledged(id: id, codes: unwanted.map { _ in 0 }))
    case .publishAcknowledged(let id, let code): acknowledged(id, code)
    case .pingRequest: link.send(.pingResponse)
    case .disconnect: link.cut(.close)
    default: break
    }
  }

  private mutating func connected(_ connect: MQTTPacket.Connect, on link: MQTTPeerLink) {
    connectCount += 1
    if let refusal {
      link.send(.connectAcknowledged(.init(code: refusal)))
      return
    }
    let isPresent = hasSession && !connect.cleanStart
    if !isPresent {
      filters = []
      inFlight = []
    }
    hasSession = connect.sessionExpiry > 0
    subscribedLink = nil
    link.send(
      .connectAcknowledged(.init(sessionPresent: isPresent, properties: connectProperties)))
    guard isPresent else { return }
    for entry in inFlight {
      repeatCount += 1
      publish(entry, isDuplicate: true, on: link)
    }
    if !filters.isEmpty { subscribedLink = link.number }
  }

  private mutating func acknowledged(_ id: UInt16, _ code: UInt8) {
    guard let index = inFlight.firstIndex(where: { $0.id == id }) else { return }
    let number = inFlight.remove(at: index).number
    if code >= 0x80 { return observer.refused(number, code) }
    acknowledgedCount += 1
    observer.acknowledged(number, acknowledgedCount)
  }

  package mutating func turn(on link: MQTTPeerLink) {
    guard !isSilent, subscribedLink == link.number else { return }
    while sentCount < limit, inFlight.count < min(windowMax, link.receiveMaximum) {
      // Identifiers of the window are far apart from those that come round again.
      lastID = lastID == .max ? 1 : lastID + 1
      let entry = InFlight(number: sentCount, id: lastID)
      inFlight.append(entry)
      sentCount += 1
      observer.sent(entry.number, makeMessage(entry.number))
      publish(entry, isDuplicate: false, on: link)
    }
  }

  private func publish(_ entry: InFlight, isDuplicate: Bool, on link: MQTTPeerLink) {
    let message = makeMessage(entry.number)
    link.send(
      .publish(
        .init(
          topic: message.topic, payload: message.payload, id: entry.id, isDuplicate: isDuplicate)))
  }

  package mutating func ended(_ link: MQTTPeerLink) {
    if subscribedLink == link.number { subscribedLink = nil }
  }
}
