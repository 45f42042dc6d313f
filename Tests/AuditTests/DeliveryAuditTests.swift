// Goal: the oracle flags every kind of broken promise, and nothing when none is broken. Method: a
// clean stream is fed to it, then the same stream with exactly one fault; each fault must change
// exactly its own count. Cannot show: that the observer and the producer report truthfully to it.

import GatewayCore
import PumpTelemetry
import Testing

@testable import Audit

/// One delivered record of a scripted stream.
private struct Record {
  var topic: String
  var id: String
  var payload: String
}

/// Four messages of two pumps, as sent.
private let records: [Record] = [
  Record(topic: "pumps/A/metrics", id: "A-1", payload: "a1"),
  Record(topic: "pumps/B/metrics", id: "B-1", payload: "b1"),
  Record(topic: "pumps/A/metrics", id: "A-2", payload: "a2"),
  Record(topic: "pumps/A/metrics", id: "A-3", payload: "a3"),
]

private let journal = JournalID(high: 1, low: 2)
private let epoch = Epoch(rawValue: 7)

extension DeliveryAudit {
  fileprivate mutating func send(_ record: Record, acknowledge: Bool = true) {
    sent(topic: record.topic, id: record.id, payload: Array(record.payload.utf8).span)
    if acknowledge { acknowledged(topic: record.topic, id: record.id) }
  }

  fileprivate mutating func deliver(
    _ records: [Record], first: UInt64, last: UInt64? = nil, epoch: Epoch = epoch,
    journal: JournalID = journal
  ) {
    let end = last ?? first + UInt64(records.count) - 1
    beginEnvelope(journal: journal, epoch: epoch, first: Sequence(first), last: Sequence(end))
    for (index, record) in records.enumerated() {
      event(
        sequence: Sequence(first + UInt64(index)), topic: record.topic, id: record.id,
        payload: Array(record.payload.utf8).span)
    }
    endEnvelope()
  }

  /// Everything sent and acknowledged, nothing delivered yet.
  fileprivate static func allSent() -> DeliveryAudit {
    var audit = DeliveryAudit()
    for record in records { audit.send(record) }
    return audit
  }

  fileprivate func nonZeroFaults() -> [String: UInt64] {
    Dictionary(
      uniqueKeysWithValues: report().faults.filter { $0.count > 0 }.map { ($0.name, $0.count) })
  }
}

extension HubReport {
  fileprivate static var sound: HubReport {
    var report = HubReport()
    report.journalIsSound = true
    report.journalLast = 10
    report.offset = 10
    report.stateIsEqual = true
    report.caseSteps = ["requested", "scheduled", "stopping", "stopped", "done"]
    report.publishedSteps = report.caseSteps
    report.stopsObeyed = 1
    return report
  }
}

@Suite("the delivery audit")
struct DeliveryAuditTests {
  @Test("a complete delivery in order is clean")
  func clean() {
    var audit = DeliveryAudit.allSent()
    #expect(audit.counts.outstanding == 4)
    audit.deliver(Array(records[0...1]), first: 1)
    audit.deliver(Array(records[2...3]), first: 3)
    let report = audit.report()
    #expect(report.isClean(allowedRedelivery: 0))
    #expect(report.counts.sent == 4)
    #expect(report.counts.delivered == 4)
    #expect(report.counts.outstanding == 0)
    #expect(report.sources == 2)
    #expect(report.samples == [])
  }

  @Test("an acknowledged message that never comes is lost")
  func lost() {
    var audit = DeliveryAudit.allSent()
    audit.deliver(Array(records[0...2]), first: 1)
    #expect(audit.nonZeroFaults() == ["lost": 1])
    #expect(audit.report().samples == ["lost: pumps/A/metrics no. 2"])
  }

  @Test("a message whose PUBACK never arrived may be missing or delivered")
  func unacknowledged() {
    var audit = DeliveryAudit()
    audit.send(records[0])
    audit.send(records[1], acknowledge: false)
    audit.send(records[2], acknowledge: false)
    audit.deliver([records[0], records[2]], first: 1)
    #expect(audit.report().isClean(allowedRedelivery: 0))
  }

  @Test("an event store must hold what was acknowledged, once, and as it was sent")
  func store() {
    func audit(applying indices: [Int], payload: String? = nil) -> DeliveryAudit {
      var audit = DeliveryAudit.allSent()
      audit.deliver(records, first: 1)
      audit.beginStore()
      for index in indices {
        let text = payload ?? records[index].payload
        audit.applied(topic: records[index].topic, id: records[index].id, payload: Array(text.utf8))
      }
      return audit
    }
    func faults(_ audit: DeliveryAudit) -> [String: UInt64] {
      var report = audit.report()
      report.hub = .sound
      return Dictionary(
        uniqueKeysWithValues: report.faults.filter { $0.count > 0 }.map { ($0.name, $0.count) })
    }
    #expect(faults(audit(applying: [0, 1, 2, 3])) == [:])
    #expect(faults(audit(applying: [0, 1, 3])) == ["not applied": 1])
    #expect(faults(audit(applying: [0, 1, 2, 3, 1])) == ["applied twice": 1])
    #expect(faults(audit(applying: [0, 1, 2, 3], payload: "x")) == ["corrupt": 4])
    var foreign = audit(applying: [0, 1, 2, 3])
    foreign.applied(topic: "pumps/A/metrics", id: "A-9", payload: nil)
    #expect(faults(foreign) == ["invented": 1])
    foreign.applied(topic: "pumps/A/metrics", id: "A-1", payload: nil)
    #expect(faults(foreign) == ["invented": 1, "applied twice": 1])
  }

  @Test("what a hub's report says of journal, offset, state and case must hold")
  func hubReport() {
    func faults(_ change: (inout HubReport) -> Void) -> [String] {
      var report = HubReport.sound
      change(&report)
      return report.faults.filter { $0.count > 0 }.map(\.name)
    }
    #expect(faults { _ in } == [])
    #expect(faults { $0.journalIsSound = false } == ["journal not sound"])
    #expect(faults { $0.offset = 8 } == ["sequences the hub lacks"])
    #expect(faults { $0.gaps = 1 } == ["gaps at the hub"])
    #expect(faults { $0.stateIsEqual = false } == ["state not equal to events"])
    #expect(faults { $0.stopsObeyed = 0 } == ["case not carried through"])
    #expect(faults { $0.publishedSteps.removeLast() } == ["case published otherwise"])
    #expect(
      faults {
        $0.caseSteps.swapAt(0, 1)
        $0.publishedSteps.swapAt(0, 1)
      } == ["case not carried through"])
  }

  @Test("one message under two sequences is duplicated, not redelivered")
  func duplicated() {
    var audit = DeliveryAudit.allSent()
    audit.deliver(records, first: 1)
    audit.deliver([records[3]], first: 5)
    #expect(audit.nonZeroFaults()["duplicated"] == 1)
    #expect(audit.counts.redelivered == 0)
  }

  @Test("the same sequence under another epoch or journal is duplicated")
  func duplicatedAcrossLives() {
    var audit = DeliveryAudit.allSent()
    audit.deliver(records, first: 1)
    audit.deliver([records[0]], first: 1, epoch: Epoch(rawValue: 8))
    #expect(audit.nonZeroFaults() == ["duplicated": 1])
    audit.deliver([records[0]], first: 1, journal: JournalID(high: 3, low: 4))
    #expect(audit.nonZeroFaults()["duplicated"] == 2)
  }

  @Test("the same journal, epoch and sequence again is redelivered, and bounded")
  func redelivered() {
    var audit = DeliveryAudit.allSent()
    audit.deliver(records, first: 1)
    audit.deliver(Array(records[1...3]), first: 2)
    let report = audit.report()
    #expect(report.counts.redelivered == 3)
    #expect(audit.nonZeroFaults() == [:])
    #expect(report.isClean(allowedRedelivery: 3))
    #expect(!report.isClean(allowedRedelivery: 2))
  }

  @Test("a sequence order that is not the producer's is out of order, per source only")
  func orderBySequence() {
    var audit = DeliveryAudit.allSent()
    // B-1 before A-1 is fine; A-3 before A-2 is not.
    audit.deliver([records[1], records[0], records[3], records[2]], first: 1)
    let faults = audit.nonZeroFaults()
    #expect(faults == ["out of order (by sequence)": 1, "out of order (by arrival)": 1])
  }

  @Test("envelopes that arrive in the wrong order are seen even when sequences are right")
  func orderByArrival() {
    var audit = DeliveryAudit.allSent()
    audit.deliver(Array(records[2...3]), first: 3)
    audit.deliver(Array(records[0...1]), first: 1)
    #expect(audit.nonZeroFaults() == ["out of order (by arrival)": 1])
  }

  @Test("redelivery is left out of the order by arrival")
  func orderByArrivalIgnoresRedelivery() {
    var audit = DeliveryAudit.allSent()
    audit.deliver(records, first: 1)
    audit.deliver(records, first: 1)
    #expect(audit.nonZeroFaults() == [:])
  }

  @Test("another payload is corrupt, an unknown id invented")
  func corruptAndInvented() {
    var audit = DeliveryAudit.allSent()
    var wrong = records
    wrong[2].payload = "a2!"
    wrong.append(Record(topic: "pumps/A/metrics", id: "A-99", payload: ""))
    audit.deliver(wrong, first: 1)
    #expect(audit.nonZeroFaults() == ["corrupt": 1, "invented": 1])
  }

  @Test("the same id on another topic is another message")
  func scopedByTopic() {
    var audit = DeliveryAudit.allSent()
    audit.deliver(records, first: 1)
    audit.deliver([Record(topic: "pumps/B/metrics", id: "A-1", payload: "a1")], first: 5)
    #expect(audit.nonZeroFaults() == ["invented": 1])
  }

  @Test("an envelope must account for each of its sequences once")
  func accountingWithinEnvelope() {
    var audit = DeliveryAudit.allSent()
    audit.deliver(Array(records[0...1]), first: 1, last: 3)
    audit.deliver(Array(records[2...3]), first: 3)
    #expect(audit.nonZeroFaults() == ["unaccounted sequences": 1])

    audit = DeliveryAudit.allSent()
    audit.beginEnvelope(journal: journal, epoch: epoch, first: Sequence(1), last: Sequence(4))
    audit.elided(SequenceRange(Sequence(1), Sequence(4)))
    audit.deadLetter(sequence: Sequence(2), topic: "t", id: "x")
    audit.endEnvelope()
    #expect(audit.nonZeroFaults()["unaccounted sequences"] == 1)
  }

  @Test("a hole between envelopes is unaccounted")
  func accountingBetweenEnvelopes() {
    var audit = DeliveryAudit.allSent()
    audit.deliver(Array(records[0...1]), first: 1)
    audit.deliver(Array(records[2...3]), first: 13)
    #expect(audit.nonZeroFaults() == ["unaccounted sequences": 10])
    // What comes late closes the hole; elided and gap count as accounted for.
    audit.beginEnvelope(journal: journal, epoch: epoch, first: Sequence(3), last: Sequence(12))
    audit.elided(SequenceRange(Sequence(3), Sequence(12)))
    audit.endEnvelope()
    #expect(audit.nonZeroFaults() == [:])
  }

  @Test("gaps and dead letters are counted and make a report unclean")
  func gapsAndDeadLetters() {
    var audit = DeliveryAudit.allSent()
    audit.deliver(records, first: 1)
    audit.beginEnvelope(journal: journal, epoch: epoch, first: Sequence(5), last: Sequence(8))
    audit.gap(Gap(SequenceRange(Sequence(5), Sequence(7)), .ringFull))
    audit.deadLetter(sequence: Sequence(8), topic: "t", id: "x")
    audit.endEnvelope()
    #expect(audit.nonZeroFaults() == ["gaps": 1, "dead letters": 1])
    #expect(audit.counts.gapSequences == 3)
  }

  @Test("a gap counts once however often it comes; what is lost beyond all gaps is untold")
  func untold() {
    var audit = DeliveryAudit.allSent()
    audit.deliver([records[0]], first: 1)
    for _ in 0..<2 {
      audit.beginEnvelope(journal: journal, epoch: epoch, first: Sequence(2), last: Sequence(3))
      audit.gap(Gap(SequenceRange(Sequence(2), Sequence(3)), .quota, topic: records[1].topic))
      audit.endEnvelope()
    }
    let counts = audit.report().counts
    #expect(counts.lost == 3 && counts.gapSequences == 2 && counts.untold == 1)
  }

  @Test("one sequence for two messages is reused")
  func reused() {
    var audit = DeliveryAudit.allSent()
    audit.deliver([records[0], records[1]], first: 1)
    audit.deliver([records[2], records[3]], first: 2)
    #expect(audit.nonZeroFaults() == ["reused sequences": 1])
  }

  @Test("one sequence for two messages in two epochs is a rollback or a clone")
  func overlapping() {
    var audit = DeliveryAudit.allSent()
    audit.deliver([records[0], records[1]], first: 1)
    audit.deliver([records[2], records[3]], first: 2, epoch: Epoch(rawValue: 8))
    #expect(audit.nonZeroFaults() == ["rollback or clone": 1])
    let sample = audit.report().samples.first
    #expect(sample?.contains("rollback or clone of journal \(journal)") == true)
  }

  @Test("the same messages again under their own epochs are no rollback")
  func laterEpoch() {
    var audit = DeliveryAudit.allSent()
    audit.deliver([records[0], records[1]], first: 1)
    audit.deliver([records[2], records[3]], first: 3, epoch: Epoch(rawValue: 8))
    audit.deliver([records[0], records[1]], first: 1)
    #expect(audit.nonZeroFaults() == [:])
  }

  @Test("a deliberate repeat is one message")
  func repeats() {
    var audit = DeliveryAudit.allSent()
    audit.send(records[2])
    #expect(audit.counts.sends == 5)
    #expect(audit.counts.sent == 4)
    audit.deliver(records, first: 1)
    #expect(audit.report().isClean(allowedRedelivery: 0))
  }

  @Test("an undecodable message and a backward envelope are faults")
  func undecodable() {
    var audit = DeliveryAudit()
    audit.undecodable("not JSON")
    audit.beginEnvelope(journal: journal, epoch: epoch, first: Sequence(4), last: Sequence(3))
    audit.endEnvelope()
    #expect(audit.nonZeroFaults() == ["undecodable": 1, "unaccounted sequences": 1])
  }

  @Test("beyond its limit it says that it does not know")
  func limit() {
    var audit = DeliveryAudit(messageCountMax: 2)
    for record in records { audit.send(record) }
    audit.deliver(Array(records), first: 1)
    #expect(audit.nonZeroFaults() == ["not audited": 2])
  }

  @Test("the table and the JSON name the fault")
  func printing() {
    var audit = DeliveryAudit.allSent()
    audit.deliver(Array(records[0...2]), first: 1)
    let report = audit.report()
    #expect(report.table(allowedRedelivery: 5).contains("lost  "))
    #expect(report.table(allowedRedelivery: 5).contains("<-- MUST BE 0"))
    let json = report.json(allowedRedelivery: 5)
    #expect(json.hasPrefix("{\"clean\":false,\"sends\":4,"))
    #expect(json.contains("\"lost\":1,"))
    #expect(json.hasSuffix("\"samples\":[\"lost: pumps/A/metrics no. 2\"]}"))
  }
}

@Suite("the coverage of sequences")
struct SequenceCoverageTests {
  @Test("ranges merge whatever the order, against a plain set", arguments: 1...20)
  func model(seed: Int) {
    var generator = SplitMix64(seed: UInt64(seed))
    var coverage = SequenceCoverage()
    var model: Set<UInt64> = []
    for _ in 0..<60 {
      let first = UInt64.random(in: 1...200, using: &generator)
      let last = first + UInt64.random(in: 0...12, using: &generator)
      coverage.insert(SequenceRange(Sequence(first), Sequence(last)))
      model.formUnion(first...last)
    }
    let covered = coverage.ranges.flatMap { Array($0.first.rawValue...$0.last.rawValue) }
    #expect(covered == model.sorted())
    for (left, right) in zip(coverage.ranges, coverage.ranges.dropFirst()) {
      #expect(left.last.next < right.first)
    }
    let low = model.min() ?? 0
    let high = model.max() ?? 0
    let missing = coverage.missing.flatMap { Array($0.first.rawValue...$0.last.rawValue) }
    #expect(missing == (low...high).filter { !model.contains($0) })
  }
}
