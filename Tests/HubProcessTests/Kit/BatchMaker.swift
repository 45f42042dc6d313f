import Envelope
import GatewayCore
import Platform

/// Envelopes on the wire, as a gateway encodes them.
struct BatchMaker: ~Copyable {
  let gateway: String
  let journal: JournalID
  var epoch = Epoch(rawValue: 0x11)
  private var encoder: EnvelopeEncoder

  init(gateway: String = "gw-1", journal: UInt64 = 1) {
    self.gateway = gateway
    self.journal = JournalID(high: 0x4000, low: 0x8000_0000_0000_0000 | journal)
    encoder = EnvelopeEncoder(gateway: gateway, site: gateway, route: "telemetry")
  }

  var topic: String { "penstock/v1/\(gateway)/telemetry" }

  /// Readings `range` of one journal: sequence n is of pump n modulo `pumps`, and says n.
  mutating func readings(_ range: ClosedRange<UInt64>, pumps: UInt64 = 10) -> [UInt8] {
    encoder.begin(journal: journal, epoch: epoch, first: Sequence(range.lowerBound))
    for number in range {
      let pump = "ND\(number % pumps)"
      encoder.appendEvent(
        EventFields(
          sequence: Sequence(number), flags: [.json, .clockSynchronised],
          received: Clock.wall()),
        topic: Array("pumps/\(pump)/metrics".utf8).span,
        id: Array("\(gateway)-\(number)".utf8).span, properties: [UInt8]().span,
        payload: Array("{\"assetId\":\"\(pump)\",\"number\":\(number)}".utf8).span)
    }
    return finish(range.upperBound)
  }

  /// The creations of assets, one each.
  mutating func assets(_ range: ClosedRange<UInt64>) -> [UInt8] {
    encoder.begin(journal: journal, epoch: epoch, first: Sequence(range.lowerBound))
    for number in range {
      encoder.appendEvent(
        EventFields(
          sequence: Sequence(number), flags: [.json, .clockSynchronised],
          received: Clock.wall()),
        topic: Array("pumps/A\(number)/asset".utf8).span,
        id: Array("\(gateway)-\(number)".utf8).span, properties: [UInt8]().span,
        payload: Array("{\"assetId\":\"A\(number)\",\"type\":\"esp\"}".utf8).span)
    }
    return finish(range.upperBound)
  }

  private mutating func finish(_ last: UInt64) -> [UInt8] {
    var message: [UInt8] = []
    _ = encoder.finish(last: Sequence(last), compression: .zstd, into: &message)
    return message
  }
}
