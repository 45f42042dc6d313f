// Goal: what the encoder writes reaches the audit as what it was, and what is no envelope is a
// finding. Method: real envelopes, compressed and not, also one that does not account for all.

import Envelope
import GatewayCore
import Testing

@testable import Audit

@Suite("recording envelopes")
struct EnvelopeRecorderTests {
  private let topic = "pumps/ND01/metrics"

  private func envelope(
    ids: [String], compression: Compression
  ) -> [UInt8] {
    var encoder = EnvelopeEncoder(gateway: "gw", site: "gw", route: "telemetry")
    encoder.begin(
      journal: JournalID(high: 1, low: 2), epoch: Epoch(rawValue: 3), first: Sequence(1))
    for (index, id) in ids.enumerated() {
      let payload = Array("{\"messageId\":\"\(id)\"}".utf8)
      encoder.appendEvent(
        EventFields(
          sequence: Sequence(UInt64(index) + 1), flags: .json, received: WallTime(nanoseconds: 0)),
        topic: Array(topic.utf8).span, id: Array(id.utf8).span, properties: [UInt8]().span,
        payload: payload.span)
    }
    var bytes: [UInt8] = []
    _ = encoder.finish(
      last: Sequence(UInt64(ids.count)), compression: compression, into: &bytes)
    return bytes
  }

  @Test("a delivered envelope is a clean audit", arguments: [Compression.none, .zstd])
  func clean(compression: Compression) {
    let ledger = AuditLedger()
    let record = EnvelopeRecorder.record(into: ledger)
    let ids = (1...40).map { "ND01-\($0)" }
    for id in ids {
      ledger.sent(topic: topic, id: id, payload: Array("{\"messageId\":\"\(id)\"}".utf8).span)
      ledger.acknowledged(topic: topic, id: id)
    }
    let bytes = envelope(ids: ids, compression: compression)
    record(Array("penstock/v1/gw/telemetry".utf8).span, bytes.span)
    let report = ledger.report()
    #expect(report.isClean(allowedRedelivery: 0), "\(report.table(allowedRedelivery: 0))")
    #expect(report.counts.delivered == 40)
  }

  @Test("an envelope that leaves sequences out, and bytes that are none, are findings")
  func findings() {
    let ledger = AuditLedger()
    let record = EnvelopeRecorder.record(into: ledger)
    // The encoder would not write such a thing.
    let text = """
      {"penstock":1,"gateway":"gw","route":"telemetry",\
      "journal":"00000000-0000-0001-0000-000000000002","epoch":"0000000000000003",\
      "first":1,"last":3,"events":[],"gaps":[],"elided":[]}
      """
    record([UInt8]().span, Array(text.utf8).span)
    record([UInt8]().span, Array("hello".utf8).span)
    let report = ledger.report()
    #expect(report.counts.unaccounted == 1)
    #expect(report.counts.undecodable == 1)
  }
}
