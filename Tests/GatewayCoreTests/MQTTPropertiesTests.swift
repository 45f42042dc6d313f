// Goal: the property codec agrees with MQTT 5.0, section 2.2.2.2. Method: hand-written wire bytes,
// round trips, every truncation. Cannot show: what a broker considers legal in a PUBLISH.

import GatewayCore
import Testing

@Suite("MQTT properties")
struct MQTTPropertiesTests {
  private func texts(_ bytes: [UInt8]) -> (list: [String], malformed: Bool) {
    var reader = MQTTPropertyReader()
    var list: [String] = []
    while let property = reader.next(in: bytes.span) {
      let name = String(decoding: bytes.span.extracting(property.name))
      let value = String(decoding: bytes.span.extracting(property.value))
      switch property.identifier.shape {
      case .text, .binary: list.append("\(property.identifier.rawValue)=\(value)")
      case .pair: list.append("\(name):\(value)")
      default: list.append("\(property.identifier.rawValue)#\(property.number)")
      }
    }
    return (list, reader.isMalformed)
  }

  @Test("known wire bytes are read property by property")
  func knownBytes() {
    let bytes: [UInt8] = [
      0x01, 1, 0x02, 0, 0, 1, 0x2C, 0x03, 0, 4, 0x74, 0x65, 0x78, 0x74, 0x0B, 0xFF, 0x7F,
      0x26, 0, 1, 0x61, 0, 2, 0x62, 0x63, 0x09, 0, 0,
    ]
    let (list, malformed) = texts(bytes)
    #expect(list == ["1#1", "2#300", "3=text", "11#16383", "a:bc", "9="])
    #expect(!malformed)
  }

  @Test("what the writer appends the reader gives back")
  func roundTrip() {
    var bytes: [UInt8] = []
    MQTTPropertyWriter.append(.payloadFormatIndicator, number: 1, to: &bytes)
    MQTTPropertyWriter.append(.messageExpiryInterval, number: .max, to: &bytes)
    MQTTPropertyWriter.append(.topicAlias, number: 513, to: &bytes)
    MQTTPropertyWriter.append(.subscriptionIdentifier, number: (1 << 28) - 1, to: &bytes)
    MQTTPropertyWriter.append(.contentType, value: Array("a/b".utf8).span, to: &bytes)
    MQTTPropertyWriter.appendUserProperty(
      name: Array("k".utf8).span, value: Array("v".utf8).span, to: &bytes)
    let (list, malformed) = texts(bytes)
    #expect(list == ["1#1", "2#4294967295", "35#513", "11#268435455", "3=a/b", "k:v"])
    #expect(!malformed)
    let place = MQTTPropertyReader.userProperty(named: Array("k".utf8).span, in: bytes.span)
    #expect(place == bytes.count - 1..<bytes.count)
    #expect(
      MQTTPropertyReader.userProperty(named: Array("K".utf8).span, in: bytes.span) == nil)
  }

  @Test("every truncation is malformed or a shorter well-formed list, never a trap")
  func truncations() {
    var bytes: [UInt8] = []
    MQTTPropertyWriter.append(.messageExpiryInterval, number: 5, to: &bytes)
    let firstEnd = bytes.count
    MQTTPropertyWriter.appendUserProperty(
      name: Array("key".utf8).span, value: Array("value".utf8).span, to: &bytes)
    for count in 0..<bytes.count {
      let (list, malformed) = texts(Array(bytes[..<count]))
      #expect(list.count == (count >= firstEnd ? 1 : 0))
      #expect(malformed == (count != 0 && count != firstEnd))
    }
  }

  @Test(
    "an identifier that MQTT 5.0 does not define stops the reader", arguments: [0x00, 0x04, 0xFF])
  func unknownIdentifier(_ identifier: UInt8) {
    #expect(texts([0x01, 1, identifier, 0]) == (["1#1"], true))
  }

  @Test("a variable byte integer of five bytes is malformed")
  func longVariableByte() {
    #expect(texts([0x0B, 0x80, 0x80, 0x80, 0x80, 0x01]).malformed)
  }
}
