package import GatewayCore

/// What a broker said when it took the connection (CONNACK). The limits are those that MQTT 5.0
/// section 3.2.2.3 defines; over MQTT 3.1.1 they have the values below, which say "unknown".
package struct ConnectAcknowledgement: Sendable, Hashable {
  package var reason: ReasonCode
  /// True: the broker kept our session, with its subscriptions and waiting messages.
  package var sessionPresent: Bool
  /// Un-acknowledged QoS 1 publishes of ours that the broker accepts at a time.
  package var receiveMaximum: UInt16 = 65_535
  /// The largest packet the broker takes; nil when it did not say.
  package var maximumPacketByteCount: UInt32?
  package var maximumQualityOfService: QualityOfService = .exactlyOnce
  /// How long the broker keeps the session when that is not what we asked for.
  package var sessionExpiry: Duration?
  /// Whether a SUBSCRIBE may carry an identifier, by which each copy of a message tells its filter.
  /// MQTT 5 only.
  package var hasSubscriptionIdentifiers = false
  /// The keepalive that the broker demands instead of ours.
  package var keepAlive: Duration?

  package init(reason: ReasonCode, sessionPresent: Bool) {
    self.reason = reason
    self.sessionPresent = sessionPresent
  }
}

/// The fixed facts of one received PUBLISH. The DUP flag is not among them: libmosquitto does not
/// pass it on, and it would be no proof of anything: identity is the producer's message id.
package struct MessageHeader: Sendable, Hashable {
  /// The packet identifier (mid): 16 bits, reused, worth nothing after the connection.
  package let mid: Int32
  package let qualityOfService: QualityOfService
  /// As published (retain-as-published) over MQTT 5.
  package let isRetained: Bool
  /// The identifier of the one subscription that this is the copy for; 0 when there is none, or
  /// when the broker sends one copy for several.
  package var subscriptionIdentifier: UInt32 = 0

  package init(
    mid: Int32, qualityOfService: QualityOfService, isRetained: Bool,
    subscriptionIdentifier: UInt32 = 0
  ) {
    self.mid = mid
    self.qualityOfService = qualityOfService
    self.isRetained = isRetained
    self.subscriptionIdentifier = subscriptionIdentifier
  }
}

/// Receives what a connection brings. Every method runs on the owner's thread, inside a call of
/// `MosquittoClient` (`connect`, `read`, `flush`, `misc`): it never throws, never blocks and never
/// touches the client, whose call has not returned yet.
package protocol MosquittoHandler: AnyObject {
  /// CONNACK came. After a failure `read()` throws and `disconnected` follows.
  func connected(_ acknowledgement: ConnectAcknowledgement)

  /// The connection is gone: once for each `connect` that returned, unless the owner itself dropped
  /// it by `abort`, by another `connect` or by letting the client go. The reason is the broker's
  /// DISCONNECT over MQTT 5, else nil.
  func disconnected(_ reason: ReasonCode?)

  /// A PUBLISH. Its PUBACK, if it has QoS 1, is queued and held until `releaseAcknowledgements`.
  /// The spans are lent for the call. `properties` are the content type, response topic,
  /// correlation data, message expiry, payload format and user properties in the wire encoding of
  /// `MQTTPropertyReader`; empty over MQTT 3.1.1.
  func received(
    _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>)

  /// SUBACK: one code per filter, in the order of the `subscribe`. 0x00 is "granted at QoS 0".
  func subscribed(mid: Int32, granted: [ReasonCode])

  /// UNSUBACK. libmosquitto 2.0 does not pass its reason codes on.
  func unsubscribed(mid: Int32)

  /// PUBACK of a QoS 1 publish; for QoS 0: the packet was written. Over MQTT 3.1.1 the reason is
  /// always `success`, also for what the broker threw away: 3.1.1 has no way to refuse.
  func published(mid: Int32, reason: ReasonCode)
}
