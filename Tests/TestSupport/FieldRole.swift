package import GatewayCore
import Platform

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
    /// The QoS it is sent with, whatever was granted: 0, 1 or 2.
    package var quality: UInt8
    /// The whole packet instead, for a given identifier and DUP flag: what no codec would make. It
    /// is of QoS 1.
    package var packet: (@Sendable (_ id: UInt16, _ isDuplicate: Bool) -> [UInt8])?

    package init(topic: String, payload: [UInt8], quality: UInt8 = 1) {
      self.topic = topic
      self.payload = payload
      self.quality = quality
    }

    package static func == (left: Self, right: Self) -> Bool {
      left.topic == right.topic && left.payload == right.payload && left.quality == right.quality
    }

    package func hash(into hasher: inout Hasher) {
      hasher.combine(topic)
      hasher.combine(payload)
    }
  }

  /// How un-acknowledged messages come to a session that is back.
  package struct Redelivery: Sendable, Hashable {
    /// With DUP, as MQTT demands.
    package var isMarked = true
    /// With the packet identifiers that they had. Otherwise with those of their neighbours: the
    /// same numbers then mean other messages.
    package var keepsIDs = true

    package init(isMarked: Bool = true, keepsIDs: Bool = true) {
      self.isMarked = isMarked
      self.keepsIDs = keepsIDs
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
    /// A subscription stands, for the first time or again; before anything is sent again.
    package var joined: @Sendable (MQTTPeerLink) -> Void = { _ in }

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
  /// The codes of every SUBACK, as they are, instead.
  package var grantedCodes: [UInt8]?
  package var redelivery = Redelivery()
  /// Says nothing any more, not even to a ping, and reads on.
  package var isSilent = false
  /// Ends the link with a DISCONNECT of this reason (MQTT 5; 3.1.1 has no word for it) as soon as
  /// it is subscribed: 0x8e is what a broker says to a client whose id is taken by another.
  package var farewell: UInt8?
  /// Each new link, before its CONNACK.
  package var greeted: @Sendable (MQTTPeerLink) -> Void = { _ in }

  package private(set) var sentCount = 0
  package private(set) var acknowledgedCount = 0
  /// PUBLISH packets sent again.
  package private(set) var repeatCount = 0
  package private(set) var connectCount = 0
  /// When each CONNECT came.
  package private(set) var connectTimes: [MonotonicTime] = []
  package private(set) var subscribeCount = 0
  /// Filters of the session.
  package private(set) var filters: [String] = []
  private let makeMessage: @Sendable (Int) -> Message
  private var inFlight: [InFlight] = []
  private var hasSession = false
  private var subscribedLink: Int?
  private var lastID: UInt16 = 0

  private struct InFlight {
    let number: Int
    var id: UInt16
    /// PUBREC has come: only PUBREL is sent from now on.
    var isReceived = false
  }

  /// - Parameter makeMessage: message number `n`, the same each time.
  package init(_ makeMessage: @escaping @Sendable (Int) -> Message) {
    self.makeMessage = makeMessage
  }

  /// The client is connected, and messages may flow.
  package var isSubscribed: Bool { subscribedLink != nil }

  /// All messages that may leave have left and are acknowledged.
  package var isIdle: Bool { sentCount >= limit && inFlight.isEmpty }

  /// As a broker that was restarted without persistence: what was not acknowledged is gone too.
  package mutating func forgetSession() { hasSession = false }

  package mutating func received(_ packet: MQTTPacket, on link: MQTTPeerLink) {
    if isSilent { return }
    switch packet {
    case .connect(let connect): connected(connect, on: link)
    case .subscribe(let id, let wanted):
      subscribeCount += 1
      filters += wanted.filter { !filters.contains($0) }
      link.send(
        .subscribeAcknowledged(id: id, codes: grantedCodes ?? wanted.map { _ in grantedCode }))
      join(link)
    case .unsubscribe(let id, let unwanted):
      filters.removeAll { unwanted.contains($0) }
      link.send(.unsubscribeAcknowledged(id: id, codes: unwanted.map { _ in 0 }))
    case .publishAcknowledged(let id, let code): acknowledged(id, code, isCompleted: false)
    case .publishReceived(let id):
      if let index = inFlight.firstIndex(where: { $0.id == id }) {
        inFlight[index].isReceived = true
      }
      link.send(.publishReleased(id: id))
    case .publishCompleted(let id): acknowledged(id, 0, isCompleted: true)
    case .pingRequest: link.send(.pingResponse)
    case .disconnect: link.cut(.close)
    default: break
    }
  }

  private mutating func connected(_ connect: MQTTPacket.Connect, on link: MQTTPeerLink) {
    connectCount += 1
    connectTimes.append(Clock.monotonic())
    greeted(link)
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
    if !filters.isEmpty { join(link) }
    if !redelivery.keepsIDs, inFlight.count > 1 {
      let ids = inFlight.map(\.id)
      for index in inFlight.indices { inFlight[index].id = ids[(index + 1) % ids.count] }
    }
    for entry in inFlight {
      repeatCount += 1
      if entry.isReceived {
        link.send(.publishReleased(id: entry.id))
      } else {
        publish(entry, isDuplicate: redelivery.isMarked, on: link)
      }
    }
  }

  private mutating func join(_ link: MQTTPeerLink) {
    subscribedLink = link.number
    observer.joined(link)
    guard let farewell else { return }
    if link.version == .v5 { link.send(.disconnect(code: farewell)) }
    link.finish()
    subscribedLink = nil
  }

  /// `isCompleted`: by the PUBCOMP that ends the exchange of a QoS 2 message, else by a PUBACK.
  private mutating func acknowledged(_ id: UInt16, _ code: UInt8, isCompleted: Bool) {
    guard
      let index = inFlight.firstIndex(where: { $0.id == id && $0.isReceived == isCompleted })
    else { return }
    let number = inFlight.remove(at: index).number
    if code >= 0x80 { return observer.refused(number, code) }
    acknowledgedCount += 1
    observer.acknowledged(number, acknowledgedCount)
  }

  package mutating func turn(on link: MQTTPeerLink) {
    guard !isSilent, subscribedLink == link.number else { return }
    while sentCount < limit, inFlight.count < min(windowMax, link.receiveMaximum) {
      let message = makeMessage(sentCount)
      // Identifiers of the window are far apart from those that come round again.
      lastID = lastID == .max ? 1 : lastID + 1
      let entry = InFlight(number: sentCount, id: lastID)
      if message.quality > 0 { inFlight.append(entry) }
      sentCount += 1
      observer.sent(entry.number, message)
      publish(entry, isDuplicate: false, on: link)
    }
  }

  private func publish(_ entry: InFlight, isDuplicate: Bool, on link: MQTTPeerLink) {
    let message = makeMessage(entry.number)
    if let packet = message.packet { return link.send(packet(entry.id, isDuplicate)) }
    link.send(
      .publish(
        .init(
          topic: message.topic, payload: message.payload,
          id: message.quality == 0 ? 0 : entry.id, isExactlyOnce: message.quality == 2,
          isDuplicate: isDuplicate)))
  }

  package mutating func ended(_ link: MQTTPeerLink) {
    if subscribedLink == link.number { subscribedLink = nil }
  }
}
