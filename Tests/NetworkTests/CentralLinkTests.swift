// Goal: the cursor passes only what the centre has acknowledged, whatever the centre does with
// PUBACKs and connections, and what comes again there has the same sequence. Method: the loops,
// real sockets, a scripted central broker. Cannot show: a centre that loses what it acknowledged.

import Audit
import Envelope
import GatewayCore
import Mosquitto
import Synchronization
import TestSupport
import Testing
import Upstream

@Suite("the link to the centre", .serialized)
struct CentralLinkTests {
  private static func name(_ version: ProtocolVersion) -> String {
    "MQTT \(version == .v5 ? "5" : "3.1.1")"
  }

  /// Records that may be out at once.
  private func inFlight(_ options: LoopStage.Options) -> Int {
    options.inFlightMax * options.batchRecordCountMax
  }

  @Test(
    "PUBACKs that never come: a new connection after the limit, and the cursor stays",
    arguments: [ProtocolVersion.v5, .v311])
  func swallowed(version: ProtocolVersion) throws {
    var options = LoopStage.Options()
    options.version = version
    options.answerTimeout = .milliseconds(300)
    let stage = try LoopStage(options)
    stage.central.withRole { $0.answer = { _, _ in .silence } }
    stage.send(400)
    try stage.wait(for: "four connections") {
      stage.central.withRole { $0.connectTimes.count >= 4 }
    }
    #expect(stage.acceptedCount == 0)
    #expect(stage.ledger.counts.delivered > 0)
    // A pause is at least the limit: counted from the last answer or the last byte that left.
    let times = stage.central.withRole { $0.connectTimes }
    for (earlier, later) in zip(times, times.dropFirst()) {
      #expect(later.since(earlier) >= .milliseconds(300))
    }
    stage.central.withRole { $0.answer = { _, _ in .code(0) } }
    try stage.drain()
    let report = try stage.report()
    Campaign.tell(
      "PUBACKs swallowed, \(Self.name(version))", runs: "\(times.count) connections",
      report.counts)
    let connections = stage.central.withRole { $0.connectTimes.count }
    let allowed = UInt64(connections * inFlight(options))
    #expect(
      report.isClean(allowedRedelivery: allowed), "\(report.table(allowedRedelivery: allowed))")
    #expect(stage.acceptedCount == 400)
  }

  @Test("one PUBACK of many is swallowed: the cursor stops before it and later passes all")
  func oneSwallowed() throws {
    var options = LoopStage.Options()
    options.answerTimeout = .milliseconds(500)
    options.batchRecordCountMax = 10
    let stage = try LoopStage(options)
    let swallowed = Mutex<Sequence?>(nil)
    stage.central.withRole { role in
      role.answer = { publish, count in
        guard count == 4, let envelope = try? EnvelopeDecoder.decode(publish.payload.span) else {
          return .code(0)
        }
        swallowed.withLock { $0 = envelope.header.first }
        return .silence
      }
    }
    stage.send(500)
    try stage.wait(for: "the new connection") {
      if let first = swallowed.withLock({ $0 }) {
        let accepted = Sequence(UInt64(stage.acceptedCount))
        let isBack = stage.central.withRole { $0.connectTimes.count > 1 }
        if !isBack && accepted >= first {
          Issue.record("the cursor is at \(accepted), \(first) was never acknowledged")
        }
        return isBack
      }
      return false
    }
    try stage.drain()
    let report = try stage.report()
    let allowed = UInt64(inFlight(options))
    #expect(
      report.isClean(allowedRedelivery: allowed), "\(report.table(allowedRedelivery: allowed))")
  }

  @Test(
    "the connection ends between a batch and its PUBACK: the same records come again",
    arguments: FieldLinkTests.Cut.all)
  func lostAcknowledgement(_ row: FieldLinkTests.Cut) throws {
    var options = LoopStage.Options()
    options.version = row.version
    options.batchRecordCountMax = 10
    options.inFlightMax = 4
    let stage = try LoopStage(options)
    let cuts = Campaign.number("PENSTOCK_NETWORK_CUTS", 200) / 4
    let cutCount = Counter()
    stage.central.withRole { role in
      role.answer = { _, count in
        guard count.isMultiple(of: 3), cutCount.value < cuts else { return .code(0) }
        cutCount.increment()
        return .cut(row.cut)
      }
    }
    stage.send(1 << 30)
    try stage.wait(for: "\(cuts) cuts", within: .seconds(120)) { cutCount.value == cuts }
    stage.stopSending()
    try stage.drain()
    let report = try stage.report()
    Campaign.tell(
      "cut before the PUBACK, \(row.testDescription)", runs: "\(cuts) cuts", report.counts)
    let allowed = UInt64(cuts * inFlight(options))
    #expect(
      report.isClean(allowedRedelivery: allowed), "\(report.table(allowedRedelivery: allowed))")
    #expect(report.counts.redelivered >= UInt64(cuts))
    #expect(report.counts.acknowledged == report.counts.sent)
  }

  @Test(
    "a refusal holds the cursor until the same records are accepted",
    arguments: [0x10, 0x80, 0x83, 0x87, 0x90, 0x97] as [UInt8])
  func refused(code: UInt8) throws {
    var options = LoopStage.Options()
    options.batchRecordCountMax = 10
    let stage = try LoopStage(options)
    let refusedCount = Counter()
    let gate = Gate()
    stage.central.withRole { role in
      role.answer = { _, _ in
        guard gate.isClosed else { return .code(0) }
        refusedCount.increment()
        return .code(code)
      }
    }
    stage.send(300)
    try stage.wait(for: "three refusals") { refusedCount.value >= 3 }
    #expect(stage.acceptedCount == 0)
    gate.open()
    try stage.wait(for: "the cursor") { stage.acceptedCount == 300 }
    try stage.drain()
    let report = try stage.report()
    Campaign.tell(
      "refused with 0x\(String(code, radix: 16))", runs: "\(refusedCount.value) refusals",
      report.counts)
    #expect(report.isClean(allowedRedelivery: .max), "\(report.table(allowedRedelivery: .max))")
    #expect(stage.acceptedCount == 300)
    #expect(report.counts.deadLetters == 0)
  }

  @Test("0x10 is acceptance where the configuration says so")
  func nobodyThere() throws {
    var options = LoopStage.Options()
    options.acceptsNoSubscriber = true
    let stage = try LoopStage(options)
    stage.central.withRole { $0.answer = { _, _ in .code(0x10) } }
    stage.send(300)
    try stage.wait(for: "the cursor") { stage.acceptedCount == 300 }
    #expect(stage.central.withRole { $0.publishCount } < 100)
  }

  @Test(
    "one record the centre will never take is found by halving, and costs only itself",
    arguments: [0x95, 0x99] as [UInt8])
  func poisonRecord(code: UInt8) throws {
    let stage = try LoopStage()
    stage.central.withRole { role in
      role.answer = { publish, _ in
        let envelope = try? EnvelopeDecoder.decode(publish.payload.span)
        return .code(envelope?.events.contains { $0.id == Load.id(123) } == true ? code : 0)
      }
    }
    stage.send(300)
    try stage.wait(for: "the cursor to pass") { stage.acceptedCount == 300 }
    let counts = try stage.report().counts
    let publishes = stage.central.withRole { $0.publishCount }
    Campaign.tell(
      "one record refused with 0x\(String(code, radix: 16))", runs: "\(publishes) publishes", counts
    )
    // To the ledger the dead letter is lost; nothing else is.
    #expect((counts.lost, counts.delivered) == (1, 299))
    #expect(counts.unaccounted + counts.duplicated + counts.invented + counts.corrupt == 0)
    // A batch of 50 is halved at most six times, in a window of 16.
    #expect(publishes < 100)
  }
}
