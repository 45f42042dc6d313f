import GatewayCore
import Mosquitto
import TestSupport
import Testing

@Suite("Messages and their properties")
struct PropertyTests {
  private func exchange(
    _ properties: PublishProperties, payload: String = "{}", retain: Bool = false,
    version: ProtocolVersion = .v5
  ) throws -> Recorder.Message {
    let broker = try TestBroker()
    let recorder = Recorder()
    var mine = options(broker.port, "c")
    mine.protocolVersion = version
    var client = Client(options: mine, handler: recorder, logger: silent)
    try client.connectFully(recorder)
    _ = try client.subscribeFully(recorder, ["t/é"])
    _ = try client.publishFully(
      recorder, topic: "t/é", payload, retain: retain, properties: properties)
    try client.drive { !recorder.messages.isEmpty }
    return try #require(recorder.messages.first)
  }

  @Test("kept properties arrive byte for byte in wire encoding, in order")
  func kept() throws {
    var bytes: [UInt8] = []
    MQTTPropertyWriter.append(.payloadFormatIndicator, number: 1, to: &bytes)
    MQTTPropertyWriter.append(
      .contentType, value: Array("application/json".utf8).span, to: &bytes)
    let long = String(repeating: "x", count: 3000)
    for (name, value) in [("id", "17"), ("id", "ü"), ("", ""), ("last", long)] {
      MQTTPropertyWriter.appendUserProperty(
        name: Array(name.utf8).span, value: Array(value.utf8).span, to: &bytes)
    }
    let properties = PublishProperties(wireEncoding: bytes)
    let message = try exchange(properties)
    #expect(message.properties == properties.bytes)
    #expect(message.topic == "t/é")
    #expect(message.payload == "{}")
    let place = MQTTPropertyReader.userProperty(
      named: Array("id".utf8).span, in: message.properties.span)
    #expect(place.map { String(decoding: message.properties[$0], as: UTF8.self) } == "17")
  }

  @Test("message expiry arrives with what is left of it")
  func expiry() throws {
    var bytes: [UInt8] = []
    MQTTPropertyWriter.append(.messageExpiryInterval, number: 100, to: &bytes)
    let message = try exchange(PublishProperties(wireEncoding: bytes))
    var reader = MQTTPropertyReader()
    let property = reader.next(in: message.properties.span)
    #expect(property?.identifier == .messageExpiryInterval)
    #expect(90...100 ~= property?.number ?? 0)
  }

  @Test("response topic and correlation data pass, binary and empty")
  func wire() throws {
    let broker = try TestBroker()
    let recorder = Recorder()
    var client = Client(options: options(broker.port, "c"), handler: recorder, logger: silent)
    try client.connectFully(recorder)
    _ = try client.subscribeFully(recorder, ["t"])
    var bytes: [UInt8] = []
    MQTTPropertyWriter.append(.responseTopic, value: Array("answer".utf8).span, to: &bytes)
    MQTTPropertyWriter.append(.correlationData, value: ([0, 255, 0] as [UInt8]).span, to: &bytes)
    let topic = Array("t".utf8)
    let empty: [UInt8] = []
    _ = try client.publish(topic: topic.span, payload: empty.span, properties: bytes.span)
    try client.flush()
    try client.drive { recorder.messages.count == 1 }
    #expect(recorder.messages.first?.properties == bytes)
    #expect(recorder.messages.first?.payload == "")
  }

  @Test("without properties and over MQTT 3.1.1 the span is empty")
  func none() throws {
    #expect(try exchange(.none).properties.isEmpty)
    var bytes: [UInt8] = []
    MQTTPropertyWriter.append(.contentType, value: Array("text/plain".utf8).span, to: &bytes)
    let sent = PublishProperties(wireEncoding: bytes)
    #expect(try exchange(sent, version: .v311).properties.isEmpty)
  }

  @Test("the retain flag is as published")
  func retainFlag() throws {
    #expect(try exchange(.none, retain: true).header.isRetained)
    #expect(try !exchange(.none, retain: false).header.isRetained)
  }

  @Test("malformed properties, topics with wildcards or NUL are refused and nothing is sent")
  func refused() throws {
    let broker = try TestBroker()
    let recorder = Recorder()
    var client = Client(options: options(broker.port, "c"), handler: recorder, logger: silent)
    try client.connectFully(recorder)
    let payload: [UInt8] = [1]
    for topic in ["a/#", "a/+/b", "", "a\0b"] {
      let error = #expect(throws: MosquittoError.self) {
        try client.publish(topic: topic, payload: payload.span)
      }
      #expect(error?.code == .invalidArgument, "\(topic)")
    }
    let broken: [UInt8] = [0x26, 0, 9, 1]
    #expect(throws: MosquittoError.self) {
      try client.publish(topic: [UInt8(97)].span, payload: payload.span, properties: broken.span)
    }
    #expect(try client.publishFully(recorder, topic: "a") == .noMatchingSubscribers)
    #expect(broker.logCount("Received PUBLISH from c") == 1)
  }

  @Test("a payload of 4 MiB and one of 0 bytes arrive whole")
  func sizes() throws {
    let broker = try TestBroker()
    let recorder = Recorder()
    var client = Client(options: options(broker.port, "c"), handler: recorder, logger: silent)
    try client.connectFully(recorder)
    _ = try client.subscribeFully(recorder, ["t"])
    let large = String(repeating: "0123456789abcdef", count: 1 << 18)
    let mid = try client.publish(topic: "t", payload: Array(large.utf8).span)
    try client.flush()
    try client.drive { recorder.published[mid] != nil && recorder.messages.count == 1 }
    #expect(recorder.messages.first?.payload == large)
  }
}
