import GatewayCore
import JSONScanning

/// Turns the MQTT 5 properties of one record into attributes of its event.
///
/// ## User properties
/// CloudEvents names may hold only a–z and 0–9, MQTT names anything, and MQTT lets a name come
/// twice. So each user property, in the order received, becomes one attribute named as follows:
///
/// 1. `up`, then the name in lower case without every byte that is not then in a–z or 0–9, cut so
///    that the whole has at most 20 characters: `Trace-ID` → `uptraceid`.
/// 2. If an earlier user property of this event already has that name, the smallest number from 2
///    that makes it unique is put at the end, cutting the rest further where needed: `uptraceid2`.
///
/// Any other property may come once (MQTT 5.0, section 3.3.2.3). Of several the first counts: an
/// object with two equal names would make the whole envelope unreadable.
///
/// No other attribute of ours begins with `up`. At most `userPropertyCountMax` are kept; what is
/// left out is counted in `propertiescut`.
struct EventAttributes {
  static let nameByteCountMax = 20
  static let userPropertyCountMax = 64

  /// Where the content type stands in the properties, if there is one.
  private(set) var contentType: Range<Int>?
  /// Where the names given so far stand in the output. Reused, so that no event allocates.
  private var names: [Range<Int>] = []
  private var cutCount: UInt64 = 0

  init() { names.reserveCapacity(EventAttributes.userPropertyCountMax) }

  /// Appends `,"name":"value"` for each property that is kept, all but the content type.
  mutating func append(_ properties: Span<UInt8>, to text: inout [UInt8]) {
    contentType = nil
    guard !properties.isEmpty else { return }
    names.removeAll(keepingCapacity: true)
    cutCount = 0
    var reader = MQTTPropertyReader()
    // One bit per identifier; MQTT 5.0 has none above 0x2A.
    var seen: UInt64 = 0
    while let property = reader.next(in: properties) {
      let bit: UInt64 = 1 << UInt64(property.identifier.rawValue)
      if property.identifier != .userProperty, seen & bit != 0 { continue }
      seen |= bit
      let value = properties.extracting(property.value)
      switch property.identifier {
      case .payloadFormatIndicator:
        text.append(ascii: ",\"payloadformat\":\"")
        text.append(decimal: UInt64(property.number))
        text.append(UInt8(ascii: "\""))
      case .messageExpiryInterval:
        text.append(ascii: ",\"messageexpiry\":\"")
        text.append(decimal: UInt64(property.number))
        text.append(UInt8(ascii: "\""))
      case .contentType:
        // An empty one says nothing, and CloudEvents has no word for it.
        if !value.isEmpty { contentType = property.value }
      case .responseTopic:
        text.append(ascii: ",\"responsetopic\":")
        JSONString.append(value, to: &text)
      case .correlationData:
        text.append(ascii: ",\"correlationdata\":\"")
        Base64.append(value, to: &text)
        text.append(UInt8(ascii: "\""))
      case .userProperty:
        appendUserProperty(properties.extracting(property.name), value, to: &text)
      default: break  // Of the hop, not of the message: subscription identifiers, topic alias.
      }
    }
    if reader.isMalformed {
      text.append(ascii: ",\"propertiescut\":\"malformed\"")
    } else if cutCount > 0 {
      text.append(ascii: ",\"propertiescut\":\"")
      text.append(decimal: cutCount)
      text.append(UInt8(ascii: "\""))
    }
  }

  private mutating func appendUserProperty(
    _ name: Span<UInt8>, _ value: Span<UInt8>, to text: inout [UInt8]
  ) {
    guard names.count < EventAttributes.userPropertyCountMax else {
      cutCount += 1
      return
    }
    text.append(ascii: ",\"")
    let start = text.count
    text.append(ascii: "up")
    for index in name.indices where text.count - start < EventAttributes.nameByteCountMax {
      switch name[index] {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"):
        text.append(name[index])
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): text.append(name[index] | 0x20)
      default: break
      }
    }
    let end = text.count
    var number: UInt64 = 2
    while isTaken(start..<text.count, in: text) {
      let digitCount = number < 10 ? 1 : 2
      text.removeLast(text.count - min(end, start + EventAttributes.nameByteCountMax - digitCount))
      text.append(decimal: number)
      number += 1
    }
    names.append(start..<text.count)
    text.append(ascii: "\":")
    JSONString.append(value, to: &text)
  }

  private func isTaken(_ name: Range<Int>, in text: [UInt8]) -> Bool {
    let bytes = text.span
    let wanted = bytes.extracting(name)
    for index in 0..<names.count where bytes.extracting(names[index]).equals(wanted) { return true }
    return false
  }

  /// Whether a content type declares JSON (RFC 6839: `+json`), whatever its parameters and case.
  static func declaresJSON(_ contentType: Span<UInt8>) -> Bool {
    var end = 0
    while end < contentType.count, contentType[end] != UInt8(ascii: ";"),
      contentType[end] != UInt8(ascii: " ")
    {
      end += 1
    }
    let mediaType = contentType.extracting(0..<end)
    return equalsIgnoringCase(mediaType, "application/json")
      || equalsIgnoringCase(mediaType, "text/json")
      || (end > 5 && equalsIgnoringCase(mediaType.extracting(end - 5..<end), "+json"))
  }

  private static func equalsIgnoringCase(_ bytes: Span<UInt8>, _ lowerCase: String) -> Bool {
    let expected = lowerCase.utf8.span
    guard bytes.count == expected.count else { return false }
    for index in bytes.indices {
      let byte = bytes[index]
      let isUpper = UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte
      if (isUpper ? byte | 0x20 : byte) != expected[index] { return false }
    }
    return true
  }
}
