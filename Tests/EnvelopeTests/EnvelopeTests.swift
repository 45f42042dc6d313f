// Goal: the wire format of Envelope.swift, to the byte, and back. Method: golden files, round trips
// of seeded records through every form a payload can take, and the encoder's own accounting. Cannot
// show: that another language's CloudEvents library agrees.

import Envelope
import GatewayCore
import JSONScanning
import Platform
import Testing

@Suite("Envelope: format")
struct EnvelopeFormatTests {
  /// Fixtures/<name>.json is one line of JSON and a line feed.
  private func fixture(_ name: String) throws -> String {
    let path = File.directoryName(of: #filePath) + "/Fixtures/" + name + ".json"
    let bytes = try File.readSmall(path, byteCountMax: 1 << 20)
    return String(decoding: bytes.dropLast(), as: UTF8.self)
  }

  private func encode(_ samples: [Sample], first: UInt64 = 1) -> String {
    var encoder = EnvelopeEncoder.sample()
    return String(decoding: encoder.envelope(samples, first: first), as: UTF8.self)
  }

  @Test("a plain record is encoded as the golden file says")
  func goldenRecord() throws {
    #expect(encode([Sample()], first: 1041) == (try fixture("record")))
  }

  @Test("the example of the architecture: a gap, an event, an elided range")
  func goldenGap() throws {
    var encoder = EnvelopeEncoder(
      gateway: "gw-houston-01", site: "gw-houston-01", route: "telemetry")
    encoder.begin(
      journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch, first: Sequence(990))
    encoder.appendGap(Gap(SequenceRange(Sequence(990), Sequence(1040)), .ringFull))
    encoder.append(Sample(), 1041)
    encoder.appendElided(SequenceRange(Sequence(1042), Sequence(1042)))
    encoder.appendElided(SequenceRange(Sequence(1043), Sequence(1044)))
    encoder.appendGap(Gap(SequenceRange(Sequence(1045), Sequence(1045)), .quota))
    encoder.appendGap(Gap(SequenceRange(Sequence(1046), Sequence(1046)), .quota))
    encoder.appendGap(Gap(SequenceRange(Sequence(1047), Sequence(1047)), .expired))
    var message: [UInt8] = []
    let byteCount = encoder.byteCount
    encoder.finish(last: Sequence(1047), compression: .none, into: &message)
    #expect(String(decoding: message, as: UTF8.self) == (try fixture("gap")))
    #expect(byteCount == message.count)
  }

  @Test("every property, flag and odd byte is encoded as the golden file says")
  func goldenProperties() throws {
    var all = Sample()
    all.kind = .deadLetter
    all.reason = .conflict
    all.flags = [.json, .retained]
    all.topic = Array("pumps/Ä \"1\"/%".utf8) + [0xFF]
    all.id = Array("a\"b\\c\n\u{1}é".utf8)
    all.properties = wire(
      contentType: "application/vnd.pump+json; charset=utf-8",
      user: [
        ("Trace-ID", "x\"y"), ("traceid", "2"), ("TRACE ID", "3"), ("—", "dash"), ("", "none"),
        ("a-very-long-property-name", "l1"), ("a-very-long-property-name-2", "l2"),
        ("penstock-via", "gw-a"),
      ]
    ) { bytes in
      MQTTPropertyWriter.append(.payloadFormatIndicator, number: 1, to: &bytes)
      MQTTPropertyWriter.append(.messageExpiryInterval, number: 60, to: &bytes)
      MQTTPropertyWriter.append(.responseTopic, value: Array("r/1".utf8).span, to: &bytes)
      MQTTPropertyWriter.append(.correlationData, value: ([0, 255] as [UInt8]).span, to: &bytes)
      MQTTPropertyWriter.append(.subscriptionIdentifier, number: 7, to: &bytes)
    }
    var binary = Sample()
    binary.flags = [.clockSynchronised, .qualityOfService1]
    binary.id = []
    binary.payload = [0, 1, 2, 0xFF]
    var hazardous = binary
    hazardous.payload = Array(#"{"a":1,"a":2}"#.utf8)
    var declaredOther = Sample()
    declaredOther.properties = wire(contentType: "text/plain")
    declaredOther.payload = Array("17".utf8)
    var empty = binary
    empty.payload = []
    #expect(
      encode([all, binary, hazardous, declaredOther, empty], first: 7)
        == (try fixture("properties")))
  }

  @Test("what golden files say is what the decoder reads")
  func goldenDecoded() throws {
    let envelope = try EnvelopeDecoder.decode(Array(try fixture("gap").utf8).span)
    #expect(
      envelope.header
        == EnvelopeHeader(
          gateway: "gw-houston-01", site: "gw-houston-01", route: "telemetry",
          journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch, first: Sequence(990),
          last: Sequence(1047)))
    #expect(
      envelope.gaps == [
        Gap(SequenceRange(Sequence(990), Sequence(1040)), .ringFull),
        Gap(SequenceRange(Sequence(1045), Sequence(1046)), .quota),
        Gap(SequenceRange(Sequence(1047), Sequence(1047)), .expired),
      ])
    #expect(envelope.elided == [SequenceRange(Sequence(1042), Sequence(1044))])
    let event = try #require(envelope.events.first)
    #expect(event.id == "ND01-000017" && event.topic == "pumps/ND01/metrics")
    #expect(event.source == "penstock://gw-houston-01/pumps/ND01/metrics")
    #expect(event.type == Event.recordType && event.time.description == "2026-11-23T06:00:00.123Z")
    #expect(event.payload == Sample().payload)

    let properties = try EnvelopeDecoder.decode(Array(try fixture("properties").utf8).span)
    #expect(properties.header.site == "houston")
    let first = try #require(properties.events.first)
    #expect(first.isDeadLetter && first.reason == "conflict" && first.isRetained)
    #expect(first.qualityOfService == .atMostOnce)
    #expect(first.id == "a\"b\\c\n\u{1}é" && first.topic == "pumps/Ä \"1\"/%\u{FFFD}")
    #expect(first.attributes.contains(EventAttribute(name: "uptraceid3", value: "3")))
    #expect(first.clockSync == .unsynchronised && event.clockSync == .synchronised)
    #expect(properties.events[1].data == .bytes([0, 1, 2, 0xFF]))
    #expect(properties.events[2].contentType == "application/json")
    #expect(properties.events[4].data == .none && properties.events[4].payload.isEmpty)
  }

  @Test("a time that was corrected is marked, and only one that was not synchronised")
  func clockSync() throws {
    var encoder = EnvelopeEncoder.sample()
    encoder.begin(journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch, first: .first)
    for (index, flags) in [RecordFlags.json, [], [.clockSynchronised]].enumerated() {
      var sample = Sample()
      sample.flags = flags
      var fields = sample.fields(UInt64(index + 1))
      fields.isReceivedCorrected = index != 1
      encoder.appendEvent(
        fields, topic: sample.topic.span, id: sample.id.span, properties: [UInt8]().span,
        payload: sample.payload.span)
    }
    var message: [UInt8] = []
    encoder.finish(last: Sequence(3), compression: .none, into: &message)
    let events = try EnvelopeDecoder.decode(message.span).events
    #expect(events.map(\.clockSync) == [.corrected, .unsynchronised, .synchronised])
    #expect(String(decoding: message, as: UTF8.self).contains(#""clocksync":"corrected""#))
  }

  @Test("the journal before this one is told, and read back", arguments: [0, 88_213] as [UInt64])
  func previous(last: UInt64) throws {
    let previous = PreviousJournal(
      id: JournalID(high: 0x1111_2222_3333_4444, low: 0x8555_6666_7777_8888),
      lastSequence: Sequence(last))
    var encoder = EnvelopeEncoder(gateway: "g", site: "g", route: "r", previous: previous)
    let message = encoder.envelope([Sample()])
    let text = String(decoding: message, as: UTF8.self)
    #expect(
      text.contains(
        #""previous":{"journal":"11112222-3333-4444-8555-666677778888","last":\#(last)}"#))
    let envelope = try EnvelopeDecoder.decode(message.span)
    #expect(envelope.header.previous == previous)
    var plain = EnvelopeEncoder.sample()
    #expect(try EnvelopeDecoder.decode(plain.envelope([Sample()]).span).header.previous == nil)
    for (old, new) in [
      (#""last":\#(last)}"#, #""last":-1}"#), ("11112222-3333", "11112222_3333"),
      (#","last":\#(last)}"#, "}"), (#""previous":{"#, #""previous":{"last":1,"#),
    ] {
      let broken = Array(text.replacing(old, with: new, maxReplacements: 1).utf8)
      #expect(throws: EnvelopeError.self) { try EnvelopeDecoder.decode(broken.span) }
    }
  }

  @Test("a replay says so and is read back as one; what is no truth value is refused")
  func replay() throws {
    var encoder = EnvelopeEncoder(gateway: "g", site: "g", route: "r", isReplay: true)
    let message = encoder.envelope([Sample()])
    let text = String(decoding: message, as: UTF8.self)
    #expect(text.contains(#""route":"r","replay":true,"journal":"#))
    #expect(try EnvelopeDecoder.decode(message.span).header.isReplay)
    var plain = EnvelopeEncoder.sample()
    let first = plain.envelope([Sample()])
    #expect(!String(decoding: first, as: UTF8.self).contains("replay"))
    #expect(try !EnvelopeDecoder.decode(first.span).header.isReplay)
    let denied = text.replacing(#""replay":true"#, with: #""replay":false"#)
    #expect(try !EnvelopeDecoder.decode(Array(denied.utf8).span).header.isReplay)
    for other in [#""replay":1"#, #""replay":"true""#, #""replay":true,"replay":true"#] {
      let broken = Array(text.replacing(#""replay":true"#, with: other).utf8)
      #expect(throws: EnvelopeError.self) { try EnvelopeDecoder.decode(broken.span) }
    }
  }

  @Test(
    "a gap of one source names it, whatever the topic; what adjoins it is one only if it is its")
  func gapTopic() throws {
    var encoder = EnvelopeEncoder.sample()
    encoder.begin(
      journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch, first: Sequence(1))
    let mad = "pumps/\"1\"/Ä"
    encoder.appendGap(Gap(SequenceRange(Sequence(1), Sequence(2)), .quota, topic: mad))
    encoder.appendGap(Gap(SequenceRange(Sequence(3), Sequence(4)), .quota, topic: mad))
    encoder.appendGap(Gap(SequenceRange(Sequence(5), Sequence(5)), .quota, topic: "b"))
    encoder.appendGap(Gap(SequenceRange(Sequence(6), Sequence(6)), .quota))
    let expected = encoder.byteCount
    var text: [UInt8] = []
    encoder.finish(last: Sequence(6), compression: .none, into: &text)
    #expect(text.count == expected)
    let envelope = try EnvelopeDecoder.decode(text.span)
    try envelope.verifyAccounting()
    #expect(
      envelope.gaps == [
        Gap(SequenceRange(Sequence(1), Sequence(4)), .quota, topic: mad),
        Gap(SequenceRange(Sequence(5), Sequence(5)), .quota, topic: "b"),
        Gap(SequenceRange(Sequence(6), Sequence(6)), .quota),
      ])
  }

  @Test("an envelope without events is legal")
  func gapOnly() throws {
    var encoder = EnvelopeEncoder.sample()
    encoder.begin(journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch, first: .first)
    encoder.appendGap(Gap(SequenceRange(.first, Sequence(9)), .deadLetterFull))
    var message: [UInt8] = []
    encoder.finish(last: Sequence(9), compression: .none, into: &message)
    let envelope = try EnvelopeDecoder.decode(message.span)
    #expect(envelope.events.isEmpty && envelope.gaps.count == 1)
  }
}

@Suite("Envelope: round trips")
struct EnvelopeRoundTripTests {
  private func random(_ generator: inout SplitMix64) -> Sample {
    var sample = Sample()
    switch generator.next() % 6 {
    case 0: sample.payload = []
    case 1:
      sample.payload = (0..<generator.next() % 50).map { _ in
        UInt8.random(in: 0...255, using: &generator)
      }
    case 2: sample.payload = Array("[1, 2.5e3,\n\"\\u00e9\", null]".utf8)
    case 3: sample.payload = Array("\"\\ud800\"".utf8)
    case 4: sample.payload = Array("true".utf8)
    default: break
    }
    if case .valid = verdict(sample.payload) {
      sample.flags.insert(.json)
    } else {
      sample.flags.remove(.json)
    }
    if generator.next() % 2 == 0 {
      sample.properties = wire(
        contentType: ["text/plain", "application/json", "a/b+json", ""].randomElement(
          using: &generator), user: [("k", "v"), ("K", "\u{0}\"")])
    }
    sample.topic = (0..<1 + generator.next() % 20).map { _ in
      UInt8.random(in: 1...255, using: &generator)
    }
    if generator.next() % 3 == 0 { sample.id = [] }
    if generator.next() % 5 == 0 { (sample.kind, sample.reason) = (.deadLetter, .tooLarge) }
    return sample
  }

  @Test("every seeded record comes back with its payload, plain and compressed", arguments: 1...20)
  func roundTrip(_ seed: UInt64) throws {
    var generator = SplitMix64(state: seed)
    var encoder = EnvelopeEncoder.sample()
    let samples = (0..<100).map { _ in random(&generator) }
    for compression in Compression.allCases {
      let message = encoder.envelope(samples, first: 5, compression: compression)
      let envelope = try EnvelopeDecoder.decode(message.span)
      #expect(envelope.compression == compression)
      #expect(envelope.events.map(\.payload) == samples.map(\.payload))
      #expect(envelope.events.map(\.sequence) == (5..<105).map { Sequence($0) })
      #expect(envelope.events.map(\.isDeadLetter) == samples.map { $0.kind == .deadLetter })
      for (event, sample) in zip(envelope.events, samples) {
        #expect(event.topic == String(decoding: sample.topic, as: UTF8.self))
        let stands =
          "01234567-89ab-4cde-8f01-23456789abcd-9f3c000000000001-\(event.sequence.rawValue)"
        #expect(
          event.id == (sample.id.isEmpty ? stands : String(decoding: sample.id, as: UTF8.self)))
      }
      if compression == .none { #expect(verdict(message) == .valid) }
    }
  }

  @Test("what the zstd command compressed is read")
  func zstdFixture() throws {
    let path = File.directoryName(of: #filePath) + "/Fixtures/gap.json.zst"
    let compressed = try File.readSmall(path, byteCountMax: 1 << 20)
    let envelope = try EnvelopeDecoder.decode(compressed.span)
    #expect(envelope.compression == .zstd && envelope.header.last == Sequence(1047))
  }

  @Test(
    "the zstd command reads what we compress",
    .enabled(
      if: Environment.executable(named: "zstd") != nil,
      "zstd is not installed: apt-get install zstd"))
  func zstdCommand() throws {
    let program = try #require(Environment.executable(named: "zstd"))
    let directory = try TemporaryDirectory(prefix: "penstock-zstd")
    var encoder = EnvelopeEncoder.sample()
    let samples = [Sample](repeating: Sample(), count: 500)
    let plain = encoder.envelope(samples)
    var compressed = encoder.envelope(samples, compression: .zstd)
    #expect(compressed.count < plain.count / 4)
    func read() throws -> ChildProcess.ExitStatus? {
      try File.replace("\(directory.path)/envelope.zst", with: compressed)
      var process = try ChildProcess(
        executable: program, arguments: ["-dc", "\(directory.path)/envelope.zst"],
        standardOutput: .file(path: "\(directory.path)/envelope.json"), standardError: .discard)
      return try process.wait(atMost: .seconds(20))
    }
    #expect(try read() == .exited(code: 0))
    #expect(try File.readSmall("\(directory.path)/envelope.json", byteCountMax: 1 << 20) == plain)
    // Negative control: the command notices a frame that ends too early.
    compressed.removeLast()
    #expect(try read() == .exited(code: 1))
  }

  @Test("compression that would not shrink the envelope is not used")
  func noGain() throws {
    var generator = SplitMix64(state: 3)
    var encoder = EnvelopeEncoder.sample()
    var sample = Sample()
    sample.flags.remove(.json)
    sample.payload = (0..<40_000).map { _ in UInt8.random(in: 0...255, using: &generator) }
    // Base64 leaves a quarter to gain: the message shrinks, and by no more than that.
    let shrunk = encoder.envelope([sample], compression: .zstd)
    #expect(shrunk.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) && shrunk.count >= 40_000)
    // The smallest envelope has nothing to gain.
    let tiny = EnvelopeEncoder(gateway: "g", site: "g", route: "r")
    var small = tiny
    small.begin(journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch, first: .first)
    small.appendElided(SequenceRange(.first, .first))
    var message: [UInt8] = []
    let used = small.finish(last: .first, compression: .zstd, into: &message)
    #expect(used == (message.first == UInt8(ascii: "{") ? .none : .zstd))
    _ = try EnvelopeDecoder.decode(message.span)
  }

  @Test("byteCount is exact after every append")
  func byteCount() {
    var generator = SplitMix64(state: 11)
    var encoder = EnvelopeEncoder.sample()
    for _ in 0..<200 {
      encoder.begin(
        journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch, first: Sequence(95))
      var next: UInt64 = 95
      func step(_ encoder: inout EnvelopeEncoder, _ choice: UInt64, _ at: UInt64) -> UInt64 {
        let range = SequenceRange(Sequence(at), Sequence(at + choice % 3))
        switch choice % 4 {
        case 0: encoder.appendGap(Gap(range, choice % 8 == 0 ? .quota : .expired))
        case 1: encoder.appendElided(range)
        default:
          encoder.append(Sample(), at)
          return at + 1
        }
        return range.last.rawValue + 1
      }
      var message: [UInt8] = []
      for _ in 0..<1 + generator.next() % 12 {
        next = step(&encoder, generator.next(), next)
        encoder.finish(last: Sequence(next - 1), compression: .none, into: &message)
        #expect(encoder.byteCount == message.count)
      }
    }
  }

  @Test("more user properties than an event keeps are counted, malformed ones told")
  func manyProperties() throws {
    var encoder = EnvelopeEncoder.sample()
    var many = Sample()
    many.properties = wire(user: (0..<70).map { _ in ("same name everywhere", "v") })
    var broken = Sample()
    broken.properties = wire(user: [("k", "v")]) + [0x26, 0]
    let envelope = try EnvelopeDecoder.decode(encoder.envelope([many, broken]).span)
    let names = envelope.events[0].attributes.map(\.name)
    #expect(Set(names).count == names.count && names.count == 65)
    #expect(names.allSatisfy { $0.utf8.count <= 20 })
    #expect(envelope.events[0].attributes.last == EventAttribute(name: "propertiescut", value: "6"))
    #expect(
      envelope.events[1].attributes == [
        EventAttribute(name: "upk", value: "v"),
        EventAttribute(name: "propertiescut", value: "malformed"),
      ])
  }
}

@Suite("Envelope: the encoder's own accounting")
struct EnvelopeEncoderTrapTests {
  @Test("a hole in the sequences traps")
  func hole() async {
    await #expect(processExitsWith: .failure) {
      var encoder = EnvelopeEncoder.sample()
      encoder.begin(journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch, first: .first)
      encoder.append(Sample(), 1)
      encoder.append(Sample(), 3)
    }
  }

  @Test("an end that is not what was appended last traps")
  func wrongLast() async {
    await #expect(processExitsWith: .failure) {
      var encoder = EnvelopeEncoder.sample()
      encoder.begin(journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch, first: .first)
      encoder.append(Sample(), 1)
      var message: [UInt8] = []
      encoder.finish(last: Sequence(2), compression: .none, into: &message)
    }
  }
}
