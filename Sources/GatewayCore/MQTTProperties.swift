// MQTT 5 properties as bytes: what the client keeps of a PUBLISH, what the journal stores and what
// the envelope turns into attributes. Source: MQTT 5.0, section 2.2.2.2.
//
// ## Wire encoding
// The properties one after another, *without* the Property Length in front of them. Each is one
// identifier byte (all identifiers of MQTT 5.0 are below 0x80) and a value of the identifier's
// type:
//
//     byte            1 byte
//     twoByte         2 bytes, big-endian
//     fourByte        4 bytes, big-endian
//     variableByte    1...4 bytes, 7 bits each, least significant first, 0x80 = more follow
//     text, binary    2 bytes length, big-endian, then that many bytes
//     pair            text, text
//
// A byte string is well formed if and only if it is such a sequence to its very end. The same
// identifier may come several times (User Property does); whether that is legal is the broker's
// business, not this file's.

/// The number that names an MQTT 5 property.
package struct MQTTPropertyIdentifier: RawRepresentable, Hashable, Sendable {
  package let rawValue: UInt8
  package init(rawValue: UInt8) { self.rawValue = rawValue }

  package static let payloadFormatIndicator = MQTTPropertyIdentifier(rawValue: 0x01)
  package static let messageExpiryInterval = MQTTPropertyIdentifier(rawValue: 0x02)
  package static let contentType = MQTTPropertyIdentifier(rawValue: 0x03)
  package static let responseTopic = MQTTPropertyIdentifier(rawValue: 0x08)
  package static let correlationData = MQTTPropertyIdentifier(rawValue: 0x09)
  package static let subscriptionIdentifier = MQTTPropertyIdentifier(rawValue: 0x0B)
  package static let topicAlias = MQTTPropertyIdentifier(rawValue: 0x23)
  package static let userProperty = MQTTPropertyIdentifier(rawValue: 0x26)

  /// The shapes a value can have.
  package enum Shape: Sendable {
    case byte, twoByte, fourByte, variableByte, text, binary, pair
  }

  /// The shape of this property's value; nil for an identifier that MQTT 5.0 does not define.
  package var shape: Shape? {
    switch rawValue {
    case 0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A: .byte
    case 0x13, 0x21, 0x22, 0x23: .twoByte
    case 0x02, 0x11, 0x18, 0x27: .fourByte
    case 0x0B: .variableByte
    case 0x03, 0x08, 0x12, 0x15, 0x1A, 0x1C, 0x1F: .text
    case 0x09, 0x16: .binary
    case 0x26: .pair
    default: nil
    }
  }
}

/// One property: where its parts stand in the bytes that were read.
package struct MQTTProperty: Hashable, Sendable {
  package let identifier: MQTTPropertyIdentifier
  /// The value of a number-shaped property; 0 for the others.
  package let number: UInt32
  /// The name of a user property; empty for the others.
  package let name: Range<Int>
  /// The content of a text, binary or pair value; for a number its encoded bytes.
  package let value: Range<Int>
}

/// Reads properties one by one, without an allocation. The bytes are lent to each call and must be
/// the same ones every time:
///
///     var reader = MQTTPropertyReader()
///     while let property = reader.next(in: bytes) { … bytes.extracting(property.value) … }
package struct MQTTPropertyReader: Sendable {
  /// Where the next property begins.
  package private(set) var offset = 0
  /// Whether the bytes ended in the middle of a property or named one that MQTT 5.0 does not have.
  /// The properties read before that are good.
  package private(set) var isMalformed = false

  package init() {}

  /// The next property; nil at the end, or when what follows is malformed (see `isMalformed`).
  package mutating func next(in bytes: Span<UInt8>) -> MQTTProperty? {
    guard offset < bytes.count, !isMalformed else { return nil }
    let identifier = MQTTPropertyIdentifier(rawValue: bytes[offset])
    var end = offset + 1
    guard let shape = identifier.shape,
      let property = MQTTPropertyReader.value(of: identifier, shape, in: bytes, at: &end)
    else {
      isMalformed = true
      return nil
    }
    offset = end
    return property
  }

  private static func value(
    of identifier: MQTTPropertyIdentifier, _ shape: MQTTPropertyIdentifier.Shape,
    in bytes: Span<UInt8>, at end: inout Int
  ) -> MQTTProperty? {
    let start = end
    switch shape {
    case .byte, .twoByte, .fourByte:
      let count = shape == .byte ? 1 : shape == .twoByte ? 2 : 4
      guard bytes.count - start >= count else { return nil }
      var number: UInt32 = 0
      for index in start..<start + count { number = number << 8 | UInt32(bytes[index]) }
      end = start + count
      return MQTTProperty(
        identifier: identifier, number: number, name: start..<start, value: start..<end)
    case .variableByte:
      var number: UInt32 = 0
      for position in 0..<4 {
        guard end < bytes.count else { return nil }
        let byte = bytes[end]
        number |= UInt32(byte & 0x7F) << UInt32(7 * position)
        end += 1
        if byte & 0x80 == 0 {
          return MQTTProperty(
            identifier: identifier, number: number, name: start..<start, value: start..<end)
        }
      }
      return nil
    case .text, .binary:
      guard let value = prefixed(in: bytes, at: &end) else { return nil }
      return MQTTProperty(identifier: identifier, number: 0, name: start..<start, value: value)
    case .pair:
      guard let name = prefixed(in: bytes, at: &end), let value = prefixed(in: bytes, at: &end)
      else { return nil }
      return MQTTProperty(identifier: identifier, number: 0, name: name, value: value)
    }
  }

  private static func prefixed(in bytes: Span<UInt8>, at end: inout Int) -> Range<Int>? {
    guard bytes.count - end >= 2 else { return nil }
    let count = Int(bytes[end]) << 8 | Int(bytes[end + 1])
    let start = end + 2
    guard bytes.count - start >= count else { return nil }
    end = start + count
    return start..<end
  }

  /// Where the value of the first user property called `name` (byte for byte) stands; nil when
  /// there is none.
  package static func userProperty(
    named name: Span<UInt8>, in bytes: Span<UInt8>
  ) -> Range<Int>? {
    var reader = MQTTPropertyReader()
    while let property = reader.next(in: bytes) {
      if property.identifier == .userProperty,
        bytes.extracting(property.name).equals(name)
      {
        return property.value
      }
    }
    return nil
  }
}

/// Appends properties in wire encoding to a caller's buffer; allocates only when that has to grow.
/// Texts longer than a two-byte length can say are our own bug: cut or refuse them before.
package enum MQTTPropertyWriter {
  /// Bytes of one text or binary value.
  package static let valueByteCountMax = 65_535

  /// A property with a number: byte, two-byte, four-byte or variable-byte by its identifier.
  package static func append(
    _ identifier: MQTTPropertyIdentifier, number: UInt32, to bytes: inout [UInt8]
  ) {
    bytes.append(identifier.rawValue)
    switch identifier.shape {
    case .byte:
      precondition(number <= 0xFF, "the number fits the property's byte")
      bytes.append(UInt8(number))
    case .twoByte:
      precondition(number <= 0xFFFF, "the number fits the property's two bytes")
      bytes.append(UInt8(number >> 8))
      bytes.append(UInt8(truncatingIfNeeded: number))
    case .fourByte:
      for position: UInt32 in 0..<4 {
        bytes.append(UInt8(truncatingIfNeeded: number >> (24 - 8 * position)))
      }
    case .variableByte:
      precondition(number < 1 << 28, "a variable byte integer has 28 bits")
      var rest = number
      repeat {
        let low = UInt8(rest & 0x7F)
        rest >>= 7
        bytes.append(rest == 0 ? low : low | 0x80)
      } while rest != 0
    case .text, .binary, .pair, nil:
      preconditionFailure("a number was given for a property that holds none")
    }
  }

  /// A property with a text or binary value.
  package static func append(
    _ identifier: MQTTPropertyIdentifier, value: Span<UInt8>, to bytes: inout [UInt8]
  ) {
    precondition(
      identifier.shape == .text || identifier.shape == .binary,
      "bytes were given for a property that holds none")
    bytes.append(identifier.rawValue)
    appendPrefixed(value, to: &bytes)
  }

  package static func appendUserProperty(
    name: Span<UInt8>, value: Span<UInt8>, to bytes: inout [UInt8]
  ) {
    bytes.append(MQTTPropertyIdentifier.userProperty.rawValue)
    appendPrefixed(name, to: &bytes)
    appendPrefixed(value, to: &bytes)
  }

  private static func appendPrefixed(_ value: Span<UInt8>, to bytes: inout [UInt8]) {
    precondition(value.count <= valueByteCountMax, "an MQTT value has a two-byte length")
    bytes.append(UInt8(value.count >> 8))
    bytes.append(UInt8(truncatingIfNeeded: value.count))
    bytes.append(value)
  }
}
