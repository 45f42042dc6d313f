// Goal: a raw route sends each record untouched, and tells of what a raw message cannot say.
// Method: a real journal on a small file.

import Envelope
import GatewayCore
import Platform
import RingJournal
import Testing

@testable import Batching

@Suite struct RawTests {
  @Test("payload untouched, topic mapped, retain kept, identity in the properties")
  func message() throws {
    let kit = try BatchKit()
    var properties: [UInt8] = []
    MQTTPropertyWriter.appendUserProperty(
      name: Array("unit".utf8).span, value: Array("bar".utf8).span, to: &properties)
    try kit.commit(
      [[1, 2, 255]], topic: "pumps/1/raw", properties: properties, flags: [.retained])
    var batcher = try kit.makeBatcher { $0.format = .raw }
    let batch = try #require(try batcher.all().first)
    #expect(batch.bytes == [1, 2, 255])
    #expect(batch.destination == .topic("up/pumps/1/raw"))
    #expect(batch.isRetained)
    func value(_ name: String) -> String? {
      MQTTPropertyReader.userProperty(named: Array(name.utf8).span, in: batch.properties.span)
        .map { String(decoding: batch.properties[$0], as: UTF8.self) }
    }
    #expect(value("unit") == "bar")
    #expect(value("penstock-sequence") == "1")
    #expect(value("penstock-epoch") == kit.state.epoch.description)
    #expect(value("penstock-journal") == kit.state.identity.id.description)
  }

  @Test("a dead letter travels as an envelope on the notice topic, in its place")
  func deadLetter() throws {
    let kit = try BatchKit()
    try kit.commit("1")
    try kit.commit([[9]], kind: .deadLetter)
    try kit.commit("3")
    var batcher = try kit.makeBatcher { $0.format = .raw }
    let batches = try batcher.all()
    #expect(batches.map(\.range.first) == [.first, Sequence(2), Sequence(3)])
    #expect(batches[1].destination == .notices(.deadLetter))
    #expect(try batches[1].envelope().events.map(\.payload) == [[9]])
  }

  @Test("a gap behind a record is told, after the record")
  func gapBehindRecord() throws {
    let kit = try BatchKit()
    for byte in 1...3 as ClosedRange<UInt8> {
      try kit.commit([[UInt8](repeating: byte, count: 3000)])
    }
    try kit.damage(recordOf: 2)
    for format in BatchFormat.allCases {
      var batcher = try kit.makeBatcher { $0.format = format }
      let batches = try batcher.all()
      #expect(try verify(batches, through: 3), "\(format)")
      #expect(batches.map(\.recordCount).reduce(0, +) == 2)
    }
  }
}
