// Goal: what a source is charged for is what it holds, and never less; what is given back comes
// back whole. Method: the accounting beside a plain list of records. Cannot show: what Intake makes
// of it (QuotaIntakeTests do).

import AllocationCounting
import GatewayCore
import Testing

@testable import Ingest

private func topic(_ number: Int) -> [UInt8] { Array("pumps/\(number)/metrics".utf8) }

/// The same account, kept as a list.
private struct PlainAccount {
  var records: [(source: Int, byteCount: Int, sequence: UInt64)] = []
  var total = 0

  func held(_ source: Int) -> Int {
    records.reduce(0) { $0 + ($1.source == source ? $1.byteCount : 0) }
  }
  mutating func release(through sequence: UInt64) {
    records.removeAll { $0.sequence <= sequence }
    total = records.reduce(0) { $0 + $1.byteCount }
  }
}

@Suite("the source quota") struct SourceQuotaTests {
  private func held(_ quota: inout SourceQuota, _ number: Int) -> Int {
    let source = quota.source(topic(number).span)
    return quota.heldByteCount(source).rawValue
  }

  @Test("never charged for less than is held, and for at most a 16th more", arguments: 0..<6)
  func model(seed: UInt64) {
    var generator = Seeded(state: seed)
    var quota = SourceQuota(sourcesMax: 20)
    var plain = PlainAccount()
    var (sequence, acknowledged, most) = (UInt64(0), UInt64(0), 0)
    for _ in 0..<5000 {
      switch Int.random(in: 0..<30, using: &generator) {
      case 0:
        acknowledged = .random(in: acknowledged...sequence, using: &generator)
        // Mostly far behind, so that segments are joined; sometimes all is there.
        if Int.random(in: 0..<40, using: &generator) != 0 {
          acknowledged = min(acknowledged, sequence / 2)
        }
        quota.release(through: Sequence(acknowledged))
        plain.release(through: acknowledged)
      default:
        let number = Int.random(in: 0..<12, using: &generator)
        let byteCount = 8 * Int.random(in: 6...4000, using: &generator)
        // Refused messages take sequences, too.
        sequence += .random(in: 1...3, using: &generator)
        let source = quota.source(topic(number).span)
        quota.add(source, byteCount: byteCount, sequence: Sequence(sequence))
        plain.records.append((number, byteCount, sequence))
        plain.total += byteCount
      }
      most = max(most, plain.total)
      guard Int.random(in: 0..<250, using: &generator) == 0 else { continue }
      for number in 0..<12 {
        let (charged, real) = (held(&quota, number), plain.held(number))
        #expect(charged >= real)
        #expect(charged - real <= most / 16 + SourceQuota.segmentByteCountMin + 32_000)
      }
    }
    quota.release(through: Sequence(sequence))
    for number in 0..<12 { #expect(held(&quota, number) == 0) }
  }

  @Test("a source may have what fits below its limit, to the byte")
  func limit() {
    var quota = SourceQuota(limit: ByteCount(1000), sourcesMax: 4)
    let source = quota.source(topic(1).span)
    #expect(quota.admits(source, byteCount: 1000) && !quota.admits(source, byteCount: 1001))
    quota.add(source, byteCount: 600, sequence: Sequence(1))
    #expect(quota.admits(source, byteCount: 400) && !quota.admits(source, byteCount: 401))
    let other = quota.source(topic(2).span)
    #expect(quota.admits(other, byteCount: 1000))
    quota.release(through: Sequence(1))
    let again = quota.source(topic(1).span)
    #expect(quota.admits(again, byteCount: 1000))
    #expect(SourceQuota().limit == ByteCount(.max))
  }

  @Test("while deliveries keep up, no source is charged for more than two delays")
  func keepingUp() {
    var quota = SourceQuota(sourcesMax: 4)
    let source = quota.source(topic(1).span)
    var most = 0
    for sequence in UInt64(1)...10_000 {
      quota.add(source, byteCount: 400, sequence: Sequence(sequence))
      // The sink is 10 records behind.
      if sequence > 10 { quota.release(through: Sequence(sequence - 10)) }
      most = max(most, quota.heldByteCount(source).rawValue)
    }
    #expect(most <= 21 * 400)
  }

  @Test("sources beyond the table share one place; places come free again")
  func sharing() {
    var quota = SourceQuota(limit: ByteCount(1000), sourcesMax: 4)
    for number in 1...4 {
      let source = quota.source(topic(number).span)
      quota.add(source, byteCount: 800, sequence: Sequence(UInt64(number)))
    }
    #expect(quota.sourceCount == 4 && quota.sharedCount == 0)
    let fifth = quota.source(topic(5).span)
    quota.add(fifth, byteCount: 800, sequence: Sequence(5))
    let sixth = quota.source(topic(6).span)
    #expect(fifth == sixth && quota.sharedCount == 2)
    #expect(!quota.admits(sixth, byteCount: 800))
    quota.release(through: Sequence(5))
    let seventh = quota.source(topic(7).span)
    #expect(seventh != fifth && quota.admits(seventh, byteCount: 800))
    #expect(quota.sourceCount == 1)
  }

  @Test("10,000 sources have a place of their own each, and nothing is allocated for a record")
  func allocations() {
    let topics = (0..<SourceQuota.sourcesMax).map(topic)
    // The first use of a generic type in a process makes its metadata: not a cost of a record.
    var first = SourceQuota()
    let anyTopic = topics[0]
    let firstSource = first.source(anyTopic.span)
    first.add(firstSource, byteCount: 3200, sequence: Sequence(1))
    first.release(through: Sequence(1))
    var quota = SourceQuota()
    var sequence: UInt64 = 0
    let counted = AllocationCounter.measure {
      for index in 0..<SourceQuota.sourcesMax {
        sequence += 1
        let topic = topics[index]
        let source = quota.source(topic.span)
        quota.add(source, byteCount: 3200, sequence: Sequence(sequence))
      }
    }
    #expect(counted.allocations == 0)
    #expect(quota.sourceCount == SourceQuota.sourcesMax && quota.sharedCount == 0)
    let (beyondTopic, laterTopic, firstTopic) = (topic(10_000), topic(20_000), topics[0])
    let beyond = quota.source(beyondTopic.span)
    #expect(quota.heldByteCount(beyond) == ByteCount(0) && quota.sharedCount == 1)
    quota.release(through: Sequence(sequence))
    let reused = AllocationCounter.measure {
      _ = quota.source(firstTopic.span)
      _ = quota.source(laterTopic.span)
    }
    #expect(reused.allocations == 0)
    #expect(quota.sourceCount == 1)
  }

  @Test("a share is of the data region, bytes are bytes")
  func size() {
    #expect(QuotaSize.percent(25).byteCount(dataByteCount: 4000) == ByteCount(1000))
    #expect(QuotaSize.bytes(ByteCount(77)).byteCount(dataByteCount: 4000) == ByteCount(77))
  }
}

struct Seeded: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
    return word ^ word >> 31
  }
}
