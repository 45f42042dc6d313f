/// The control packets of MQTT 5.0 and 3.1.1 (OASIS) that a broker of a test exchanges with a
/// gateway. A codec of our own, so that the oracle of the tests shares nothing with the library
/// under test. Properties are kept as bytes unless a test needs them.
package enum MQTTPacket: Sendable, Hashable {
  case connect(Connect)
  case connectAcknowledged(ConnectAcknowledged)
  case publish(Publish)
  case publishAcknowledged(id: UInt16, code: UInt8)
  /// PUBREC, PUBREL and PUBCOMP of QoS 2, without their reason codes.
  case publishReceived(id: UInt16)
  case publishReleased(id: UInt16)
  case publishCompleted(id: UInt16)
  case subscribe(id: UInt16, filters: [String])
  case subscribeAcknowledged(id: UInt16, codes: [UInt8])
  case unsubscribe(id: UInt16, filters: [String])
  case unsubscribeAcknowledged(id: UInt16, codes: [UInt8])
  case pingRequest
  case pingResponse
  case disconnect(code: UInt8)

  /// The protocol level of CONNECT, which decides how every later packet is laid out.
  package enum Version: UInt8, Sendable {
    case v311 = 4
    case v5 = 5
  }

  package struct Connect: Sendable, Hashable {
    package var version: Version
    package var clientID: String
    package var cleanStart = false
    /// Seconds.
    package var keepAlive: UInt16 = 60
    /// QoS 1 messages that the client takes un-acknowledged; 65,535 when it does not say.
    package var receiveMaximum = UInt16.max
    /// Seconds that the session outlives the connection; with 3.1.1 for ever unless clean.
    package var sessionExpiry: UInt32

    package init(version: Version, clientID: String, sessionExpiry: UInt32) {
      self.version = version
      self.clientID = clientID
      self.sessionExpiry = sessionExpiry
    }
  }

  package struct ConnectAcknowledged: Sendable, Hashable {
    package var sessionPresent: Bool
    package var code: UInt8
    /// MQTT 5, encoded, without their length.
    package var properties: [UInt8]

    package init(sessionPresent: Bool = false, code: UInt8 = 0, properties: [UInt8] = []) {
      self.sessionPresent = sessionPresent
      self.code = code
      self.properties = properties
    }
  }

  package struct Publish: Sendable, Hashable {
    package var topic: String
    package var payload: [UInt8]
    /// 0 is QoS 0; a packet identifier is QoS 1, or QoS 2 if `isExactlyOnce`.
    package var id: UInt16
    package var isExactlyOnce: Bool
    package var isDuplicate: Bool
    package var isRetained: Bool
    /// MQTT 5, encoded, without their length.
    package var properties: [UInt8]

    package init(
      topic: String, payload: [UInt8], id: UInt16, isExactlyOnce: Bool = false,
      isDuplicate: Bool = false, isRetained: Bool = false, properties: [UInt8] = []
    ) {
      self.topic = topic
      self.payload = payload
      self.id = id
      self.isExactlyOnce = isExactlyOnce
      self.isDuplicate = isDuplicate
      self.isRetained = isRetained
      self.properties = properties
    }
  }
}

/// Bytes that are no packet as this codec knows them.
package struct MQTTPacketError: Error, Sendable, Hashable, CustomStringConvertible {
  package let description: String
  init(_ description: String) { self.description = description }
}
