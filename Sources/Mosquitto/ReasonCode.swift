/// A reason code of MQTT 5.0 (section 2.4). The return codes of MQTT 3.1.1 are expressed in it, so
/// that callers know one vocabulary: those of CONNACK are translated, those of SUBACK are equal.
package struct ReasonCode: RawRepresentable, Hashable, Sendable {
  package let rawValue: UInt8
  package init(rawValue: UInt8) { self.rawValue = rawValue }

  package static let success = ReasonCode(rawValue: 0x00)
  /// In a SUBACK: granted at QoS 0, that is, without the promise of delivery.
  package static let grantedQoS0 = ReasonCode(rawValue: 0x00)
  package static let grantedQoS1 = ReasonCode(rawValue: 0x01)
  package static let grantedQoS2 = ReasonCode(rawValue: 0x02)
  package static let noMatchingSubscribers = ReasonCode(rawValue: 0x10)
  package static let unspecifiedError = ReasonCode(rawValue: 0x80)
  package static let malformedPacket = ReasonCode(rawValue: 0x81)
  package static let protocolError = ReasonCode(rawValue: 0x82)
  package static let implementationSpecific = ReasonCode(rawValue: 0x83)
  package static let unsupportedProtocolVersion = ReasonCode(rawValue: 0x84)
  package static let clientIdentifierNotValid = ReasonCode(rawValue: 0x85)
  package static let badUserNameOrPassword = ReasonCode(rawValue: 0x86)
  package static let notAuthorized = ReasonCode(rawValue: 0x87)
  package static let serverUnavailable = ReasonCode(rawValue: 0x88)
  package static let serverBusy = ReasonCode(rawValue: 0x89)
  package static let banned = ReasonCode(rawValue: 0x8A)
  package static let serverShuttingDown = ReasonCode(rawValue: 0x8B)
  package static let keepAliveTimeout = ReasonCode(rawValue: 0x8D)
  package static let sessionTakenOver = ReasonCode(rawValue: 0x8E)
  package static let topicFilterInvalid = ReasonCode(rawValue: 0x8F)
  package static let topicNameInvalid = ReasonCode(rawValue: 0x90)
  package static let receiveMaximumExceeded = ReasonCode(rawValue: 0x93)
  package static let packetTooLarge = ReasonCode(rawValue: 0x95)
  package static let quotaExceeded = ReasonCode(rawValue: 0x97)
  package static let administrativeAction = ReasonCode(rawValue: 0x98)
  package static let payloadFormatInvalid = ReasonCode(rawValue: 0x99)
  package static let retainNotSupported = ReasonCode(rawValue: 0x9A)
  package static let qualityOfServiceNotSupported = ReasonCode(rawValue: 0x9B)

  /// MQTT 5.0, section 2.4: 0x80 and above is a failure.
  package var isFailure: Bool { rawValue >= 0x80 }

  /// The reason that stands for a CONNACK return code of MQTT 3.1.1 (section 3.2.2.3).
  package init(connectReturnCode code: UInt8) {
    switch code {
    case 0: self = .success
    case 1: self = .unsupportedProtocolVersion
    case 2: self = .clientIdentifierNotValid
    case 3: self = .serverUnavailable
    case 4: self = .badUserNameOrPassword
    case 5: self = .notAuthorized
    default: self = .unspecifiedError
    }
  }
}

extension ReasonCode: CustomStringConvertible {
  /// The name in the standard and the number: `not authorized (0x87)`.
  package var description: String {
    let digits = String(rawValue, radix: 16, uppercase: true)
    return "\(text) (0x\(rawValue < 0x10 ? "0" : "")\(digits))"
  }

  /// The name in the standard, in lower case. For people; compare codes, not texts.
  package var text: String {
    ReasonCode.texts.first { $0.0 == rawValue }?.1 ?? "unknown reason"
  }

  private static let texts: [(UInt8, String)] = [
    (0x00, "success"), (0x01, "granted QoS 1"), (0x02, "granted QoS 2"),
    (0x04, "disconnect with will message"), (0x10, "no matching subscribers"),
    (0x11, "no subscription existed"), (0x18, "continue authentication"),
    (0x19, "re-authenticate"), (0x80, "unspecified error"), (0x81, "malformed packet"),
    (0x82, "protocol error"), (0x83, "implementation specific error"),
    (0x84, "unsupported protocol version"), (0x85, "client identifier not valid"),
    (0x86, "bad user name or password"), (0x87, "not authorized"),
    (0x88, "server unavailable"), (0x89, "server busy"), (0x8A, "banned"),
    (0x8B, "server shutting down"), (0x8C, "bad authentication method"),
    (0x8D, "keep alive timeout"), (0x8E, "session taken over"),
    (0x8F, "topic filter invalid"), (0x90, "topic name invalid"),
    (0x91, "packet identifier in use"), (0x92, "packet identifier not found"),
    (0x93, "receive maximum exceeded"), (0x94, "topic alias invalid"),
    (0x95, "packet too large"), (0x96, "message rate too high"), (0x97, "quota exceeded"),
    (0x98, "administrative action"), (0x99, "payload format invalid"),
    (0x9A, "retain not supported"), (0x9B, "QoS not supported"), (0x9C, "use another server"),
    (0x9D, "server moved"), (0x9E, "shared subscriptions not supported"),
    (0x9F, "connection rate exceeded"), (0xA0, "maximum connect time"),
    (0xA1, "subscription identifiers not supported"),
    (0xA2, "wildcard subscriptions not supported"),
  ]
}
