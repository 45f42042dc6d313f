// Goal: whatever arrives is decoded or refused with a reason, within the limits; an envelope that
// does not account for its sequences is never taken for a good one. Method: every member missing,
// twice and wrong; every truncation; seeded mutations, plain and compressed; bombs. Cannot show:
// memory use.

import Envelope
import GatewayCore
import Platform
import Testing

@Suite("Envelope: decoder")
struct EnvelopeDecoderTests {
  private func good() -> String {
    var encoder = EnvelopeEncoder.sample()
    encoder.begin(journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch, first: .first)
    encoder.append(Sample(), 1)
    encoder.appendGap(Gap(SequenceRange(Sequence(2), Sequence(4)), .skipped))
    encoder.appendElided(SequenceRange(Sequence(5), Sequence(5)))
    encoder.append(Sample(), 6)
    var message: [UInt8] = []
    encoder.finish(last: Sequence(6), compression: .none, into: &message)
    return String(decoding: message, as: UTF8.self)
  }

  private func code(_ text: String) -> EnvelopeError.Code? { code(Array(text.utf8)) }

  private func code(_ bytes: [UInt8], _ limits: EnvelopeLimits = EnvelopeLimits()) -> EnvelopeError
    .Code?
  {
    do throws(EnvelopeError) {
      _ = try EnvelopeDecoder.decode(bytes.span, limits: limits)
      return nil
    } catch {
      return error.code
    }
  }

  /// The good envelope with the first `old` replaced.
  private func changed(_ old: String, _ new: String) -> String {
    let text = good()
    guard let place = text.firstRange(of: old) else {
      Issue.record("the envelope has no \(old)")
      return text
    }
    return text.replacingCharacters(in: place, with: new)
  }

  @Test("the unchanged envelope is good: the control of the tests below")
  func control() {
    #expect(code(good()) == nil)
    #expect(code(" \n" + good() + "\n") == nil)
  }

  @Test(
    "a member that is missing, twice there or of the wrong form is malformed",
    arguments: [
      ("\"gateway\":\"gw-houston-01\",", ""), ("\"route\":\"telemetry\",", ""),
      ("\"journal\":", "\"j\":"), ("\"epoch\":", "\"e\":"), ("\"first\":1,", ""),
      ("\"last\":6,", ""), ("\"gateway\":", "\"gateway\":\"x\",\"gateway\":"),
      ("\"first\":1,", "\"first\":1,\"\\u0066irst\":1,"), ("\"first\":1,", "\"first\":\"1\","),
      ("\"first\":1,", "\"first\":1.0,"), ("\"first\":1,", "\"first\":0,"),
      ("\"first\":1,", "\"first\":7,"), ("\"last\":6,", "\"last\":18446744073709551615,"),
      ("01234567-89ab", "01234567x89ab"), ("\"9f3c", "\"9f3"), ("\"events\":[", "\"events\":[1,"),
      ("\"gateway\":\"gw-houston-01\"", "\"gateway\":null"), ("\"id\":", "\"ix\":"),
      ("\"specversion\":\"1.0\"", "\"specversion\":\"0.3\""), ("\"source\":", "\"sourc\":"),
      ("\"type\":", "\"typ\":"), ("\"time\":", "\"tim\":"), ("\"topic\":", "\"topi\":"),
      ("\"sequence\":\"1\"", "\"sequence\":1"), ("\"sequence\":\"1\"", "\"sequence\":\"x\""),
      ("\"sequence\":\"1\"", "\"sequence\":\"0\""), ("2026-11-23T", "2026-13-23T"),
      ("\"data\":", "\"data_base64\":\"AA==\",\"data\":"),
      ("\"data\":", "\"data_base64\":\"AB==\",\"d\":"), ("\"count\":3", "\"count\":2"),
      ("\"reason\":\"skipped\"", "\"r\":1"), ("\"reason\":\"skipped\"", "\"reason\":\"boredom\""),
      ("\"first\":2,\"last\":4", "\"first\":4,\"last\":2"),
      ("\"id\":", "\"qos\":\"3\",\"id\":"), ("{\"penstock\":1", "{\"version\":1"),
    ])
  func malformed(_ old: String, _ new: String) {
    #expect(code(changed(old, new)) == .malformed)
  }

  @Test("what is not an object is malformed", arguments: ["[]", "1", "null", "\"x\"", "{}"])
  func notAnObject(_ text: String) {
    #expect(code(text) == .malformed)
  }

  @Test(
    "another version is called unsupported, whatever else changed",
    arguments: ["2", "0", "\"1\"", "1.0"])
  func version(_ version: String) {
    #expect(code("{\"x\":[{}],\"penstock\":\(version)}") == .unsupportedVersion)
  }

  @Test("members and attributes of a later version are passed over")
  func unknownMembers() throws {
    let text = changed(
      "\"events\":[{", "\"new\":{\"a\":[]},\"events\":[{\"x\":1,\"y\":true,\"z\":{},")
    let envelope = try EnvelopeDecoder.decode(Array(text.utf8).span)
    #expect(
      envelope.events[0].attributes == [
        EventAttribute(name: "x", value: "1"), EventAttribute(name: "y", value: "true"),
      ])
  }

  @Test(
    "an envelope that does not account for every sequence exactly once is refused",
    arguments: [
      ("\"last\":6,", "\"last\":7,"), ("\"first\":1,", "\"first\":2,"),
      ("\"sequence\":\"6\"", "\"sequence\":\"7\""), ("\"sequence\":\"6\"", "\"sequence\":\"5\""),
      ("\"sequence\":\"6\"", "\"sequence\":\"1\""),
      ("\"first\":2,\"last\":4,\"count\":3", "\"first\":2,\"last\":3,\"count\":2"),
      ("\"first\":2,\"last\":4,\"count\":3", "\"first\":2,\"last\":5,\"count\":4"),
      ("\"first\":2,\"last\":4,\"count\":3", "\"first\":2,\"last\":9,\"count\":8"),
      ("\"elided\":[", "\"elided\":[{\"first\":3,\"last\":3},"),
      ("\"elided\":[", "\"elided\":[{\"first\":1,\"last\":18446744073709551614},"),
    ])
  func unaccounted(_ old: String, _ new: String) throws {
    let text = Array(changed(old, new).utf8)
    #expect(code(text) == .unaccounted)
    var limits = EnvelopeLimits()
    limits.requiresAccounting = false
    let envelope = try EnvelopeDecoder.decode(text.span, limits: limits)
    #expect(throws: EnvelopeError.self) { try envelope.verifyAccounting() }
  }

  @Test("every truncation and every byte more is refused, plain and compressed")
  func truncations() {
    var encoder = EnvelopeEncoder.sample()
    for compression in Compression.allCases {
      let message = encoder.envelope([Sample(), Sample()], compression: compression)
      for count in 0..<message.count { #expect(code(Array(message[..<count])) != nil) }
      #expect(code(message + [0x31]) != nil)
    }
  }

  @Test("a bit flipped in a compressed envelope changes nothing or is noticed")
  func flippedBits() {
    var encoder = EnvelopeEncoder.sample()
    let message = encoder.envelope([Sample(), Sample()], compression: .zstd)
    for position in message.indices {
      for bit in 0..<8 {
        var bytes = message
        bytes[position] ^= 1 << UInt8(bit)
        // The frame header has reserved and redundant bits; whatever gets through must be the text.
        if let envelope = try? EnvelopeDecoder.decode(bytes.span) {
          #expect(envelope.events.count == 2 && envelope.events[0].payload == Sample().payload)
        }
      }
    }
  }

  @Test("seeded mutations are decoded or refused, never trapped on")
  func mutations() {
    var generator = SplitMix64(state: 0xFEED)
    let plain = Array(good().utf8)
    var encoder = EnvelopeEncoder.sample()
    let compressed = encoder.envelope([Sample(), Sample()], compression: .zstd)
    var decoder = EnvelopeDecoder()
    var decodedCount = 0
    for round in 0..<20_000 {
      var bytes = round % 4 == 0 ? compressed : plain
      for _ in 0...generator.next() % 3 {
        let place = Int(generator.next() % UInt64(bytes.count))
        switch generator.next() % 3 {
        case 0: bytes[place] = UInt8(truncatingIfNeeded: generator.next())
        case 1: bytes.remove(at: place)
        default:
          bytes.insert(Array("0123456789{}[]\",:\\-".utf8)[Int(generator.next() % 19)], at: place)
        }
      }
      do throws(EnvelopeError) {
        _ = try decoder.decode(bytes.span)
        decodedCount += 1
      } catch {
        #expect(!error.description.isEmpty)
      }
    }
    #expect(decodedCount > 0)
  }

  @Test("random bytes are refused")
  func randomBytes() {
    var generator = SplitMix64(state: 9)
    for round in 0..<5_000 {
      var bytes = (0..<generator.next() % 200).map { _ in
        UInt8(truncatingIfNeeded: generator.next())
      }
      if round % 2 == 0 { bytes = [0x28, 0xB5, 0x2F, 0xFD] + bytes }
      #expect(code(bytes) != nil)
    }
  }

  @Test("a compression bomb is refused at the limit, a plain giant before it is read")
  func bomb() throws {
    // 65 MiB of spaces.
    let bomb = try fixture("bomb.zst")
    #expect(bomb.count < 10_000)
    #expect(code(bomb) == .tooLarge)
    // Its control: with more room it is read, and found not to be JSON.
    var limits = EnvelopeLimits()
    limits.byteCountMax = .mebibytes(65)
    #expect(code(bomb, limits) == .notJSON)
    limits.byteCountMax = .kibibytes(1)
    #expect(code([UInt8](repeating: 0x20, count: 1025), limits) == .tooLarge)
  }

  @Test("the limit counts decompressed bytes, to the byte")
  func exactLimit() throws {
    let message = try fixture("gap.json.zst")
    let byteCount = try fixture("gap.json").count
    var limits = EnvelopeLimits()
    limits.byteCountMax = ByteCount(byteCount)
    #expect(code(message, limits) == nil)
    limits.byteCountMax = ByteCount(byteCount - 1)
    #expect(code(message, limits) == .tooLarge)
  }

  private func fixture(_ name: String) throws -> [UInt8] {
    try File.readSmall(
      File.directoryName(of: #filePath) + "/Fixtures/" + name, byteCountMax: 1 << 20)
  }

  @Test("times of RFC 3339 are read, others refused")
  func times() throws {
    func time(_ text: String) -> Int64? {
      let changed = changed("2026-11-23T06:00:00.123Z", text)
      return try? EnvelopeDecoder.decode(Array(changed.utf8).span).events[0].time.nanoseconds
    }
    #expect(time("1970-01-01T00:00:00Z") == 0)
    #expect(time("1969-12-31T23:59:59.999999999Z") == -1)
    #expect(time("2000-02-29T12:00:00.5+01:30") == 951_820_200_500_000_000)
    #expect(time("2026-11-23t06:00:00z") == 1_795_413_600_000_000_000)
    #expect(time("2016-12-31T23:59:60Z") == 1_483_228_800_000_000_000)
    for bad in [
      "2026-11-23", "2026-02-29T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T06:00:00",
      "2026-11-23T06:00:00.Z", "2026-11-23 06:00:00Z", "2026-11-23T06:00:00+0100",
      "9999-01-01T00:00:00Z",
      "2026-11-23T06:00:00Zx", "+026-11-23T06:00:00Z", "",
    ] {
      #expect(time(bad) == nil, "\(bad)")
    }
    var generator = SplitMix64(state: 1)
    for _ in 0..<2_000 {
      let milliseconds = Int64.random(in: -9_000_000_000_000...9_000_000_000_000, using: &generator)
      let wall = WallTime(nanoseconds: milliseconds * 1_000_000)
      #expect(time(wall.description) == wall.nanoseconds)
    }
  }
}

extension String {
  fileprivate func firstRange(of part: String) -> Range<String.Index>? {
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(part) { return start..<index(start, offsetBy: part.count) }
      start = index(after: start)
    }
    return nil
  }

  fileprivate func replacingCharacters(in range: Range<String.Index>, with text: String) -> String {
    self[..<range.lowerBound] + text + self[range.upperBound...]
  }
}
