// Goal: however a connection to the field broker ends, what was acknowledged is delivered and what
// comes again is recognised. Method: the loops, real sockets, a scripted broker that ends the
// connection after exactly so many bytes of the PUBACKs, and redelivers as brokers do and as they
// should not. Cannot show: what a real broker keeps over its own crash (see the broker's tests).

import Audit
import GatewayCore
import Mosquitto
import TestSupport
import Testing

@testable import Ingest

@Suite("the link to the field broker", .serialized)
struct FieldLinkTests {
  struct Cut: Sendable, CustomTestStringConvertible {
    let version: ProtocolVersion
    let cut: MQTTPeerLink.Cut

    var testDescription: String { "MQTT \(version == .v5 ? "5" : "3.1.1"), \(cut)" }

    static let all = [
      Cut(version: .v5, cut: .close), Cut(version: .v5, cut: .reset),
      Cut(version: .v311, cut: .close), Cut(version: .v311, cut: .reset),
    ]
  }

  /// A flush of 50 PUBACKs is 200 bytes.
  private static let runCount = Campaign.number("PENSTOCK_NETWORK_CUTS", 200)
  private static let window = 50

  /// Connection number n of all ends after n bytes of PUBACKs; this stage sees some of them.
  private func cut(
    _ row: Cut, afterByteCounts counts: Range<Int>, _ options: LoopStage.Options
  ) throws -> LoopStage {
    let stage = try LoopStage(options)
    let cutCount = Counter()
    stage.field.withRole { role in
      role.observer.joined = { link in
        guard cutCount.value < counts.count else { return }
        let number = counts.lowerBound + cutCount.increment()
        link.cut(row.cut, afterReceivedByteCount: number % (4 * Self.window + 1))
      }
    }
    stage.send(1 << 30)
    try stage.wait(for: "\(counts.count) cuts", within: .seconds(120)) {
      stage.field.withRole { $0.connectCount > counts.count && $0.isSubscribed }
    }
    return stage
  }

  /// A broker that ends several young connections in a row may have given another client our place,
  /// and the loop stays away for half a minute: not more cuts than these for one stage.
  private static let cutsPerStage = 2

  @Test(
    "cut at each byte of a flush of PUBACKs: nothing is lost, all that comes again is known",
    arguments: Cut.all)
  func cutInFlush(_ row: Cut) throws {
    var options = LoopStage.Options()
    options.version = row.version
    var (sent, repeats) = (0, 0)
    for first in stride(from: 0, to: Self.runCount, by: Self.cutsPerStage) {
      let numbers = first..<min(first + Self.cutsPerStage, Self.runCount)
      let stage = try cut(row, afterByteCounts: numbers, options)
      stage.stopSending()
      try stage.drain()
      let report = try stage.report()
      #expect(report.isClean(allowedRedelivery: 0), "\(report.table(allowedRedelivery: 0))")
      #expect(stage.committedCount == stage.sentCount)
      #expect(stage.acknowledgedCount == stage.sentCount)
      sent += stage.sentCount
      repeats += stage.field.withRole { $0.repeatCount }
    }
    Campaign.tell(
      "cut in a flush of PUBACKs, \(row.testDescription)",
      "\(Self.runCount) cuts, \(sent) messages acknowledged and delivered, \(repeats) came again "
        + "and were known")
    #expect(repeats > Self.runCount * Self.window / 4 && repeats <= Self.runCount * Self.window)
  }

  @Test("control: without deduplication what comes again is counted as new")
  func control() throws {
    var options = LoopStage.Options()
    options.sabotage = .noDeduplication
    let row = Cut(version: .v5, cut: .close)
    let stage = try cut(row, afterByteCounts: 0..<Self.cutsPerStage, options)
    stage.stopSending()
    try stage.wait(for: "the last PUBACK") { stage.field.withRole { $0.isIdle } }
    #expect(stage.committedCount > stage.sentCount)
  }

  struct Again: Sendable, CustomTestStringConvertible {
    let version: ProtocolVersion
    let redelivery: FieldRole.Redelivery

    var testDescription: String {
      "MQTT \(version == .v5 ? "5" : "3.1.1"), \(redelivery.isMarked ? "DUP" : "no DUP"), "
        + (redelivery.keepsIDs ? "same identifiers" : "others' identifiers")
    }

    static let all = [ProtocolVersion.v5, .v311].flatMap { version in
      [true, false].flatMap { isMarked in
        [true, false].map { keepsIDs in
          Again(version: version, redelivery: .init(isMarked: isMarked, keepsIDs: keepsIDs))
        }
      }
    }
  }

  @Test(
    "a message is known by its id, whatever DUP flag and packet identifier it comes with",
    arguments: Again.all)
  func redelivery(_ row: Again) throws {
    var options = LoopStage.Options()
    options.version = row.version
    let stage = try LoopStage(options)
    let joins = Counter()
    let cuts = Self.cutsPerStage
    stage.field.withRole { role in
      role.redelivery = row.redelivery
      // Each time ten PUBACKs arrive, the others are on their way and lost.
      role.observer.joined = { link in
        if joins.increment() < cuts { link.cut(.reset, afterReceivedByteCount: 40) }
      }
    }
    stage.send(1 << 30)
    try stage.wait(for: "\(cuts) cuts") { joins.value > cuts }
    stage.stopSending()
    try stage.drain()
    let report = try stage.report()
    let repeats = stage.field.withRole { $0.repeatCount }
    Campaign.tell(
      "redelivery, \(row.testDescription)", runs: "\(repeats) came again", report.counts)
    #expect(report.isClean(allowedRedelivery: 0), "\(report.table(allowedRedelivery: 0))")
    #expect(stage.committedCount == stage.sentCount)
    #expect(repeats >= cuts * 30)
  }
}
