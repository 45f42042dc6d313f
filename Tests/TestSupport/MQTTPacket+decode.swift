/// Cuts a byte stream into packets. Bytes go in as they come from the socket.
package struct MQTTPacketReader: Sendable {
  /// A gateway under test sends batches of at most some hundred kilobytes.
  package static let packetByteCountMax = 16 << 20

  private var bytes: [UInt8] = []
  private var offset = 0
  /// Learned from CONNECT.
  package var version = MQTTPacket.Version.v5

  package init() {}

  package mutating func append(_ more: ArraySlice<UInt8>) {
    if offset > 0 {
      bytes.removeSubrange(..<offset)
      offset = 0
    }
    bytes += more
  }

  /// The next whole packet; nil when more bytes are needed.
  package mutating func next() throws(MQTTPacketError) -> MQTTPacket? {
    var position = offset + 1
    var length = 0
    var shift = 0
    while true {
      guard position < bytes.count else { return nil }
      let byte = bytes[position]
      position += 1
      length |= Int(byte & 0x7f) << shift
      shift += 7
      if byte & 0x80 == 0 { break }
      guard shift < 28 else { throw MQTTPacketError("a remaining length of five bytes") }
    }
    guard length <= Self.packetByteCountMax else {
      throw MQTTPacketError("a packet of \(length) bytes")
    }
    guard position + length <= bytes.count else { return nil }
    var fields = Fields(bytes: bytes[position..<position + length])
    let packet = try decode(header: bytes[offset], &fields)
    guard fields.isEmpty else { throw MQTTPacketError("a packet is longer than its fields") }
    offset = position + length
    if case .connect(let connect) = packet { version = connect.version }
    return packet
  }

  private func decode(
    header: UInt8, _ fields: inout Fields
  ) throws(MQTTPacketError) -> MQTTPacket {
    switch header >> 4 {
    case 1: return .connect(try connect(&fields))
    case 2:
      let flags = try fields.byte()
      let code = try fields.byte()
      return .connectAcknowledged(
        .init(
          sessionPresent: flags & 1 == 1, code: code,
          properties: version == .v5 ? try fields.block() : []))
    case 3: return .publish(try publish(header: header, &fields))
    case 4:
      let id = try fields.integer16()
      return .publishAcknowledged(id: id, code: try reason(&fields))
    case 5, 6, 7:
      let id = try fields.integer16()
      _ = try reason(&fields)
      switch header >> 4 {
      case 5: return .publishReceived(id: id)
      case 6: return .publishReleased(id: id)
      default: return .publishCompleted(id: id)
      }
    case 8:
      let id = try fields.integer16()
      if version == .v5 { _ = try fields.block() }
      var filters: [String] = []
      while !fields.isEmpty {
        filters.append(try fields.text())
        _ = try fields.byte()
      }
      return .subscribe(id: id, filters: filters)
    case 9, 11:
      let id = try fields.integer16()
      if version == .v5 { _ = try fields.block() }
      let codes = header >> 4 == 9 || version == .v5 ? fields.rest() : []
      return header >> 4 == 9
        ? .subscribeAcknowledged(id: id, codes: codes)
        : .unsubscribeAcknowledged(id: id, codes: codes)
    case 10:
      let id = try fields.integer16()
      if version == .v5 { _ = try fields.block() }
      var filters: [String] = []
      while !fields.isEmpty { filters.append(try fields.text()) }
      return .unsubscribe(id: id, filters: filters)
    case 12: return .pingRequest
    case 13: return .pingResponse
    case 14: return .disconnect(code: try reason(&fields))
    default: throw MQTTPacketError("a packet of type \(header >> 4)")
    }
  }

  /// The reason code that MQTT 5 leaves out when it is 0, and the properties behind it.
  private func reason(_ fields: inout Fields) throws(MQTTPacketError) -> UInt8 {
    guard version == .v5, !fields.isEmpty else { return 0 }
    defer { _ = fields.rest() }
    return try fields.byte()
  }

  private func connect(_ fields: inout Fields) throws(MQTTPacketError) -> MQTTPacket.Connect {
    guard try fields.text() == "MQTT", let version = MQTTPacket.Version(rawValue: try fields.byte())
    else { throw MQTTPacketError("a CONNECT of another protocol") }
    let flags = try fields.byte()
    let keepAlive = try fields.integer16()
    let properties = version == .v5 ? try fields.block() : []
    let isClean = flags & 2 == 2
    var connect = MQTTPacket.Connect(
      version: version, clientID: try fields.text(),
      sessionExpiry: version == .v311 && !isClean ? .max : 0)
    connect.cleanStart = isClean
    connect.keepAlive = keepAlive
    // A will, a name, a password: not of interest here.
    _ = fields.rest()
    try scan(properties, into: &connect)
    return connect
  }

  private func scan(
    _ properties: [UInt8], into connect: inout MQTTPacket.Connect
  ) throws(MQTTPacketError) {
    var fields = Fields(bytes: properties[...])
    while !fields.isEmpty {
      switch try fields.byte() {
      case 0x11: connect.sessionExpiry = try fields.integer32()
      case 0x21: connect.receiveMaximum = try fields.integer16()
      case 0x27: _ = try fields.integer32()
      case 0x22: _ = try fields.integer16()
      case 0x17, 0x19: _ = try fields.byte()
      case 0x15, 0x16: _ = try fields.text()
      case 0x26:
        _ = try fields.text()
        _ = try fields.text()
      case let other: throw MQTTPacketError("property \(other) in CONNECT")
      }
    }
  }

  private func publish(
    header: UInt8, _ fields: inout Fields
  ) throws(MQTTPacketError) -> MQTTPacket.Publish {
    guard header & 6 != 6 else { throw MQTTPacketError("a PUBLISH of QoS 3") }
    let topic = try fields.text()
    let id = header & 6 == 0 ? 0 : try fields.integer16()
    guard header & 6 == 0 || id != 0 else { throw MQTTPacketError("packet identifier 0") }
    let properties = version == .v5 ? try fields.block() : []
    return MQTTPacket.Publish(
      topic: topic, payload: fields.rest(), id: id, isExactlyOnce: header & 4 == 4,
      isDuplicate: header & 8 == 8, isRetained: header & 1 == 1, properties: properties)
  }
}

/// The fields of one packet, read from front to back.
private struct Fields {
  var bytes: ArraySlice<UInt8>

  var isEmpty: Bool { bytes.isEmpty }

  mutating func byte() throws(MQTTPacketError) -> UInt8 {
    guard let byte = bytes.popFirst() else { throw MQTTPacketError("a packet ends too early") }
    return byte
  }

  mutating func integer16() throws(MQTTPacketError) -> UInt16 {
    UInt16(try byte()) << 8 | UInt16(try byte())
  }

  mutating func integer32() throws(MQTTPacketError) -> UInt32 {
    UInt32(try integer16()) << 16 | UInt32(try integer16())
  }

  mutating func take(_ count: Int) throws(MQTTPacketError) -> ArraySlice<UInt8> {
    guard count <= bytes.count else { throw MQTTPacketError("a field is longer than its packet") }
    defer { bytes = bytes.dropFirst(count) }
    return bytes.prefix(count)
  }

  mutating func text() throws(MQTTPacketError) -> String {
    let bytes = try take(Int(try integer16()))
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw MQTTPacketError("a text that is not UTF-8")
    }
    return text
  }

  /// Properties: a variable-length count and as many bytes.
  mutating func block() throws(MQTTPacketError) -> [UInt8] {
    var count = 0
    for shift in stride(from: 0, to: 28, by: 7) {
      let byte = try byte()
      count |= Int(byte & 0x7f) << shift
      if byte & 0x80 == 0 { return Array(try take(count)) }
    }
    throw MQTTPacketError("a property length of five bytes")
  }

  mutating func rest() -> [UInt8] {
    defer { bytes = [] }
    return Array(bytes)
  }
}
