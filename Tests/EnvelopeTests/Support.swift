import Envelope
import GatewayCore
import JSONScanning

/// The generator of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators".
struct SplitMix64: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }
}

/// A record as a test writes it down.
struct Sample {
  var kind = RecordKind.data
  var reason: DeadLetterReason?
  var flags: RecordFlags = [.json, .clockSynchronised, .qualityOfService1]
  var milliseconds: Int64 = 1_795_413_600_123
  var topic = Array("pumps/ND01/metrics".utf8)
  var id = Array("ND01-000017".utf8)
  var properties: [UInt8] = []
  var payload = Array(#"{"assetId":"ND01","rotation":3502.5}"#.utf8)

  func fields(_ sequence: UInt64) -> EventFields {
    EventFields(
      sequence: Sequence(sequence), kind: kind, reason: reason, flags: flags,
      received: WallTime(nanoseconds: milliseconds * 1_000_000))
  }
}

extension RecordFlags {
  static var qualityOfService1: RecordFlags {
    var flags = RecordFlags()
    flags.qualityOfService = .atLeastOnce
    return flags
  }
}

extension EnvelopeEncoder {
  static let journal = JournalID(high: 0x0123_4567_89AB_4CDE, low: 0x8F01_2345_6789_ABCD)
  static let epoch = Epoch(rawValue: 0x9F3C_0000_0000_0001)

  static func sample() -> EnvelopeEncoder {
    EnvelopeEncoder(gateway: "gw-houston-01", site: "houston", route: "telemetry")
  }

  mutating func append(_ sample: Sample, _ sequence: UInt64) {
    appendEvent(
      sample.fields(sequence), topic: sample.topic.span, id: sample.id.span,
      properties: sample.properties.span, payload: sample.payload.span)
  }

  /// One envelope of the samples, numbered from `first`.
  mutating func envelope(
    _ samples: [Sample], first: UInt64 = 1, compression: Compression = .none
  ) -> [UInt8] {
    begin(journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch, first: Sequence(first))
    for (index, sample) in samples.enumerated() { append(sample, first + UInt64(index)) }
    var message: [UInt8] = []
    finish(
      last: Sequence(first + UInt64(samples.count) - 1), compression: compression, into: &message)
    return message
  }
}

/// MQTT 5 properties in wire encoding.
func wire(
  contentType: String? = nil, user: [(String, String)] = [],
  other: (inout [UInt8]) -> Void = { _ in }
) -> [UInt8] {
  var bytes: [UInt8] = []
  if let contentType {
    MQTTPropertyWriter.append(.contentType, value: Array(contentType.utf8).span, to: &bytes)
  }
  other(&bytes)
  for (name, value) in user {
    MQTTPropertyWriter.appendUserProperty(
      name: Array(name.utf8).span, value: Array(value.utf8).span, to: &bytes)
  }
  return bytes
}

func verdict(_ bytes: [UInt8]) -> JSONVerdict {
  var scanner = JSONScanner(pointers: [])
  return scanner.scan(bytes.span)
}
