extension MQTTPacket {
  /// The packet as it goes on the wire.
  package func encoded(_ version: Version) -> [UInt8] {
    var body: [UInt8] = []
    let header: UInt8
    switch self {
    case .connect(let connect):
      header = 0x10
      body.append(text: "MQTT")
      body += [connect.version.rawValue, connect.cleanStart ? 2 : 0]
      body.append(integer: connect.keepAlive)
      if connect.version == .v5 {
        var properties: [UInt8] = [0x11]
        properties.append(integer: connect.sessionExpiry)
        properties.append(0x21)
        properties.append(integer: connect.receiveMaximum)
        body.append(block: properties)
      }
      body.append(text: connect.clientID)
    case .connectAcknowledged(let answer):
      header = 0x20
      body = [answer.sessionPresent ? 1 : 0, answer.code]
      if version == .v5 { body.append(block: answer.properties) }
    case .publish(let publish):
      let quality: UInt8 = publish.id == 0 ? 0 : publish.isExactlyOnce ? 4 : 2
      header = 0x30 | (publish.isDuplicate ? 8 : 0) | quality | (publish.isRetained ? 1 : 0)
      body.append(text: publish.topic)
      if publish.id != 0 { body.append(integer: publish.id) }
      if version == .v5 { body.append(block: publish.properties) }
      body += publish.payload
    case .publishAcknowledged(let id, let code):
      header = 0x40
      body.append(integer: id)
      if version == .v5 && code != 0 { body.append(code) }
    case .publishReceived(let id):
      header = 0x50
      body.append(integer: id)
    case .publishReleased(let id):
      header = 0x62
      body.append(integer: id)
    case .publishCompleted(let id):
      header = 0x70
      body.append(integer: id)
    case .subscribe(let id, let filters):
      header = 0x82
      body.append(integer: id)
      if version == .v5 { body.append(0) }
      for filter in filters {
        body.append(text: filter)
        body.append(1)
      }
    case .subscribeAcknowledged(let id, let codes):
      header = 0x90
      body.append(integer: id)
      if version == .v5 { body.append(0) }
      body += codes
    case .unsubscribe(let id, let filters):
      header = 0xa2
      body.append(integer: id)
      if version == .v5 { body.append(0) }
      for filter in filters { body.append(text: filter) }
    case .unsubscribeAcknowledged(let id, let codes):
      header = 0xb0
      body.append(integer: id)
      if version == .v5 { body += [0] + codes }
    case .pingRequest: header = 0xc0
    case .pingResponse: header = 0xd0
    case .disconnect(let code):
      header = 0xe0
      if version == .v5 && code != 0 { body.append(code) }
    }
    return Self.packet(header: header, body)
  }

  /// A packet of these bytes, whatever they mean: for what the codec would not make.
  package static func packet(header: UInt8, _ body: [UInt8]) -> [UInt8] {
    var packet = [header]
    packet.append(length: body.count)
    return packet + body
  }
}

extension [UInt8] {
  fileprivate mutating func append(integer: some FixedWidthInteger) {
    for shift in stride(from: integer.bitWidth - 8, through: 0, by: -8) {
      append(UInt8(truncatingIfNeeded: integer >> shift))
    }
  }

  fileprivate mutating func append(text: String) {
    append(integer: UInt16(text.utf8.count))
    append(contentsOf: text.utf8)
  }

  /// Seven bits a byte, the lowest first.
  fileprivate mutating func append(length: Int) {
    var rest = length
    repeat {
      append(UInt8(rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
      rest >>= 7
    } while rest > 0
  }

  fileprivate mutating func append(block: [UInt8]) {
    append(length: block.count)
    append(contentsOf: block)
  }
}
