// libmosquitto's property lists, to and from MQTT 5 wire encoding
// (GatewayCore/MQTTProperties.swift). The library hands texts out as malloc'ed copies only; each is
// freed here at once.

import CMosquitto
import GatewayCore
import Glibc

enum LibraryProperties {
  // Identifiers of MQTT 5.0, section 2.2.2.2, that are read or written here by number.
  private static let sessionExpiry: Int32 = 0x11
  private static let serverKeepAlive: Int32 = 0x13
  private static let receiveMaximum: Int32 = 0x21
  private static let maximumQualityOfService: Int32 = 0x24
  private static let maximumPacketSize: Int32 = 0x27
  private static let subscriptionIdentifier: Int32 = 0x0B
  private static let subscriptionIdentifierAvailable: Int32 = 0x29

  /// The properties of our CONNECT. The caller frees the list (`mosquitto_property_free_all`).
  static func makeConnect(_ options: ConnectionOptions) -> OpaquePointer? {
    var list: OpaquePointer? = nil
    let seconds = UInt32(clamping: options.sessionExpiry.components.seconds)
    unsafe mosquitto_property_add_int32(&list, sessionExpiry, seconds)
    if let limit = options.maximumPacketByteCount {
      unsafe mosquitto_property_add_int32(&list, maximumPacketSize, limit)
    }
    return unsafe list
  }

  /// The properties of a DISCONNECT after which the broker forgets the session. The caller frees
  /// the list.
  static func makeSessionEnd() -> OpaquePointer? {
    var list: OpaquePointer? = nil
    unsafe mosquitto_property_add_int32(&list, sessionExpiry, 0)
    return unsafe list
  }

  /// A property list for PUBLISH from wire encoding. `text` is room for terminated strings. The
  /// code is the library's; the caller frees the list whatever the code.
  static func makePublish(
    _ bytes: Span<UInt8>, text: inout [UInt8], list: inout OpaquePointer?
  ) -> Int32 {
    var reader = MQTTPropertyReader()
    while let property = reader.next(in: bytes) {
      let identifier = Int32(property.identifier.rawValue)
      let code: Int32
      switch property.identifier.shape {
      case .byte:
        code = unsafe mosquitto_property_add_byte(
          &list, identifier, UInt8(truncatingIfNeeded: property.number))
      case .fourByte: code = unsafe mosquitto_property_add_int32(&list, identifier, property.number)
      case .binary:
        code = unsafe bytes.extracting(property.value).withUnsafeBufferPointer {
          unsafe mosquitto_property_add_binary(
            &list, identifier, $0.baseAddress, UInt16($0.count))
        }
      case .text:
        terminate(bytes, property.name, property.value, in: &text)
        code = unsafe text.withUnsafeBytes {
          let start = unsafe $0.baseAddress?.assumingMemoryBound(to: CChar.self)
          return unsafe mosquitto_property_add_string(
            &list, identifier, start.map { unsafe $0 + 1 + property.name.count })
        }
      case .pair:
        terminate(bytes, property.name, property.value, in: &text)
        code = unsafe text.withUnsafeBytes {
          let start = unsafe $0.baseAddress?.assumingMemoryBound(to: CChar.self)
          return unsafe mosquitto_property_add_string_pair(
            &list, identifier, start, start.map { unsafe $0 + 1 + property.name.count })
        }
      default: code = MOSQ_ERR_INVAL.rawValue
      }
      if code != 0 { return code }
    }
    return reader.isMalformed ? MOSQ_ERR_INVAL.rawValue : 0
  }

  /// Writes `name NUL value NUL`.
  private static func terminate(
    _ bytes: Span<UInt8>, _ name: Range<Int>, _ value: Range<Int>, in text: inout [UInt8]
  ) {
    text.removeAll(keepingCapacity: true)
    // An empty name of a text property stands at the value's own place; it is not read.
    if !name.isEmpty { text.append(bytes.extracting(name)) }
    text.append(0)
    text.append(bytes.extracting(value))
    text.append(0)
  }

  /// Appends the properties of a received PUBLISH that outlive the connection. Topic alias and
  /// subscription identifier do not.
  static func appendKept(_ list: OpaquePointer?, to bytes: inout [UInt8]) {
    var next = unsafe list
    while let property = unsafe next {
      unsafe next = mosquitto_property_next(property)
      let identifier = MQTTPropertyIdentifier(
        rawValue: UInt8(truncatingIfNeeded: unsafe mosquitto_property_identifier(property)))
      switch identifier {
      case .payloadFormatIndicator:
        var value: UInt8 = 0
        if unsafe mosquitto_property_read_byte(
          property, Int32(identifier.rawValue), &value, false) != nil
        {
          MQTTPropertyWriter.append(identifier, number: UInt32(value), to: &bytes)
        }
      case .messageExpiryInterval:
        var value: UInt32 = 0
        if unsafe mosquitto_property_read_int32(
          property, Int32(identifier.rawValue), &value, false) != nil
        {
          MQTTPropertyWriter.append(identifier, number: value, to: &bytes)
        }
      case .contentType, .responseTopic: unsafe appendText(property, identifier, to: &bytes)
      case .correlationData: unsafe appendBinary(property, identifier, to: &bytes)
      case .userProperty: unsafe appendPair(property, to: &bytes)
      default: continue
      }
    }
  }

  /// The properties of a SUBSCRIBE. The caller frees the list; nil without an identifier.
  static func makeSubscribe(identifier: UInt32?) -> OpaquePointer? {
    guard let identifier else { return nil }
    var list: OpaquePointer? = nil
    unsafe mosquitto_property_add_varint(&list, subscriptionIdentifier, identifier)
    return unsafe list
  }

  /// The subscription identifier of a received PUBLISH that has exactly one; else 0.
  static func onlySubscription(_ list: OpaquePointer?) -> UInt32 {
    guard let list = unsafe list else { return 0 }
    var value: UInt32 = 0
    guard
      let first = unsafe mosquitto_property_read_varint(
        list, subscriptionIdentifier, &value, false)
    else { return 0 }
    var other: UInt32 = 0
    let second = unsafe mosquitto_property_read_varint(first, subscriptionIdentifier, &other, true)
    return unsafe second == nil ? value : 0
  }

  private static func appendText(
    _ property: OpaquePointer, _ identifier: MQTTPropertyIdentifier, to bytes: inout [UInt8]
  ) {
    var value: UnsafeMutablePointer<CChar>? = nil
    defer { unsafe free(value) }
    let found = unsafe mosquitto_property_read_string(
      property, Int32(identifier.rawValue), &value, false)
    guard unsafe found != nil, let text = unsafe value else { return }
    unsafe withBytes(text, strlen(text)) {
      MQTTPropertyWriter.append(identifier, value: $0, to: &bytes)
    }
  }

  private static func appendBinary(
    _ property: OpaquePointer, _ identifier: MQTTPropertyIdentifier, to bytes: inout [UInt8]
  ) {
    var value: UnsafeMutableRawPointer? = nil
    var count: UInt16 = 0
    defer { unsafe free(value) }
    let found = unsafe mosquitto_property_read_binary(
      property, Int32(identifier.rawValue), &value, &count, false)
    guard unsafe found != nil else { return }
    unsafe withBytes(value, Int(count)) {
      MQTTPropertyWriter.append(identifier, value: $0, to: &bytes)
    }
  }

  private static func appendPair(_ property: OpaquePointer, to bytes: inout [UInt8]) {
    var name: UnsafeMutablePointer<CChar>? = nil
    var value: UnsafeMutablePointer<CChar>? = nil
    defer {
      unsafe free(name)
      unsafe free(value)
    }
    let found = unsafe mosquitto_property_read_string_pair(
      property, Int32(MQTTPropertyIdentifier.userProperty.rawValue), &name, &value, false)
    guard unsafe found != nil, let name = unsafe name, let value = unsafe value else { return }
    unsafe withBytes(name, strlen(name)) { nameBytes in
      unsafe withBytes(value, strlen(value)) { valueBytes in
        MQTTPropertyWriter.appendUserProperty(name: nameBytes, value: valueBytes, to: &bytes)
      }
    }
  }

  private static func withBytes(
    _ start: UnsafeRawPointer?, _ count: Int, _ body: (Span<UInt8>) -> Void
  ) {
    unsafe UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : count)
      .withMemoryRebound(to: UInt8.self) { unsafe body($0.span) }
  }

  /// CONNACK in our words.
  static func acknowledgement(
    code: Int32, flags: Int32, properties: OpaquePointer?, version: ProtocolVersion
  ) -> ConnectAcknowledgement {
    let byte = UInt8(truncatingIfNeeded: code)
    var result = ConnectAcknowledgement(
      reason: version == .v5 ? ReasonCode(rawValue: byte) : ReasonCode(connectReturnCode: byte),
      sessionPresent: flags & 1 != 0)
    // Absent means available (MQTT 5.0, section 3.2.2.3.12).
    result.hasSubscriptionIdentifiers = version == .v5
    guard version == .v5, unsafe properties != nil else { return result }
    var short: UInt16 = 0
    var long: UInt32 = 0
    var small: UInt8 = 0
    if unsafe mosquitto_property_read_int16(properties, receiveMaximum, &short, false) != nil {
      result.receiveMaximum = short
    }
    if unsafe mosquitto_property_read_int16(properties, serverKeepAlive, &short, false) != nil {
      result.keepAlive = .seconds(Int64(short))
    }
    if unsafe mosquitto_property_read_int32(properties, maximumPacketSize, &long, false) != nil {
      result.maximumPacketByteCount = long
    }
    if unsafe mosquitto_property_read_int32(properties, sessionExpiry, &long, false) != nil {
      result.sessionExpiry = .seconds(Int64(long))
    }
    if unsafe mosquitto_property_read_byte(
      properties, subscriptionIdentifierAvailable, &small, false) != nil
    {
      result.hasSubscriptionIdentifiers = small != 0
    }
    if unsafe mosquitto_property_read_byte(
      properties, maximumQualityOfService, &small, false) != nil
    {
      result.maximumQualityOfService = QualityOfService(rawValue: small) ?? .exactlyOnce
    }
    return result
  }
}
