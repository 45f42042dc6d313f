// Goal: with `accept: hub` the cursor moves only over what the consumer says it has committed,
// whatever the broker answers, and whatever the consumer says of other lives. Method: the window as
// a value with a manual clock; a random walk compares it with a plain model. Cannot show: that the
// loop hears the consumer (SinkLoopConsumerTests), nor a real one (IntegrationTests).

import GatewayCore
import Mosquitto
import Testing

@testable import Upstream

private func time(_ milliseconds: Int64) -> MonotonicTime {
  MonotonicTime(nanoseconds: milliseconds * 1_000_000)
}

private func batchRange(_ first: UInt64, _ last: UInt64) -> SequenceRange {
  SequenceRange(Sequence(first), Sequence(last))
}

private func word(_ through: UInt64, missing: [SequenceRange] = []) -> ConsumerWord {
  ConsumerWord(through: Sequence(through), missing: missing)
}

private func window(slots: Int = 4, unaccepted: Int = 100) -> DeliveryWindow<String> {
  var window = DeliveryWindow<String>(
    slotCountMax: slots, acceptance: .hub, acceptsNoSubscriber: false, unacceptedMax: unaccepted,
    lightened: { "light \($0)" })
  window.connected(outstandingMax: 100)
  return window
}

extension DeliveryWindow<String> {
  /// Adds batches of ten records behind what is there and sends them; the broker takes all.
  fileprivate mutating func hold(_ count: Int, from number: Int = 0) {
    for index in number..<number + count {
      let first = UInt64(index * 10 + 1)
      add(
        "batch \(index)", range: batchRange(first, first + 9), recordCount: 10)
      guard case .send(let slot) = nextStep(now: time(0)) else { return }
      sent(slot, mid: Int32(index + 1), at: time(0))
      #expect(answered(mid: Int32(index + 1), reason: .success, now: time(1)).advanced == nil)
    }
  }
}

@Suite struct ConsumerWindowTests {
  @Test("a PUBACK moves nothing and frees the bytes; the consumer's word moves the cursor")
  func acceptance() {
    var window = window()
    window.hold(3)
    #expect(window.heldCount == 3)
    #expect(window[0] == "light batch 0")
    let outcome = window.consumerSaid(word(20), now: time(2))
    #expect(outcome.advanced == Sequence(20))
    #expect(outcome.accepted == ["light batch 0", "light batch 1"])
    #expect(window.consumerSaid(word(29), now: time(3)).advanced == nil)
    #expect(window.consumerSaid(word(30), now: time(3)).advanced == Sequence(30))
    #expect(window.isEmpty)
  }

  @Test("what is missing holds the cursor, and only that: what lies behind it is not sent again")
  func missing() {
    var window = window()
    window.hold(4)
    let outcome = window.consumerSaid(word(40, missing: [batchRange(15, 16)]), now: time(2))
    #expect(outcome.advanced == Sequence(10))
    #expect(window.heldRuns == [batchRange(11, 20)])
    #expect(window.nextStep(now: time(2)) == .fill)
    #expect(window.consumerSaid(word(40), now: time(3)).advanced == Sequence(40))
  }

  @Test("never more unaccepted than allowed, however fast the broker takes them")
  func bounded() {
    var window = window(slots: 2, unaccepted: 5)
    window.hold(5)
    #expect(window.nextStep(now: time(2)) == .wait(until: nil))
    #expect(window.consumerSaid(word(10), now: time(2)).advanced == Sequence(10))
    #expect(window.nextStep(now: time(2)) == .fill)
  }

  @Test("a lost connection sends again what the broker did not take, not what it has")
  func lostConnection() {
    var window = window()
    window.hold(2)
    window.add("batch 2", range: batchRange(21, 30), recordCount: 10)
    window.sent(2, mid: 3, at: time(2))
    _ = window.connectionLost(nil, now: time(3))
    window.connected(outstandingMax: 100)
    #expect(window.nextStep(now: time(4)) == .send(2))
    #expect(window.heldCount == 2)
  }

  @Test("a word that came before the batch is there, or before its PUBACK, counts")
  func early() {
    var window = window()
    #expect(window.consumerSaid(word(20), now: time(0)).advanced == nil)
    #expect(
      window.add("batch 0", range: batchRange(1, 10), recordCount: 10).advanced == Sequence(10))
    #expect(window.add("batch 1", range: batchRange(11, 25), recordCount: 10).advanced == nil)
    window.sent(0, mid: 9, at: time(1))
    #expect(window.consumerSaid(word(25), now: time(2)).advanced == Sequence(25))
    guard case .unknown = window.answered(mid: 9, reason: .success, now: time(3)).action else {
      Issue.record("the late PUBACK is nobody's")
      return
    }
  }

  @Test("the consumer's word about a batch that the broker refused settles the refusal")
  func settlesRefusal() {
    var window = window()
    for index in 0..<4 {
      let first = UInt64(index * 10 + 1)
      window.add("batch \(index)", range: batchRange(first, first + 9), recordCount: 10)
      window.sent(index, mid: Int32(index + 1), at: time(0))
    }
    _ = window.answered(mid: 2, reason: .quotaExceeded, now: time(1))
    _ = window.answered(mid: 4, reason: .quotaExceeded, now: time(1))
    // Batches 0 and 1 are there after all; batch 2 is still awaited, batch 3 was refused.
    #expect(window.consumerSaid(word(20), now: time(1)).advanced == Sequence(20))
    #expect(window.nextStep(now: time(2)) == .send(1))
    window.sent(1, mid: 9, at: time(2))
    _ = window.answered(mid: 3, reason: .success, now: time(2))
    _ = window.answered(mid: 9, reason: .success, now: time(2))
    #expect(window.consumerSaid(word(40), now: time(3)).advanced == Sequence(40))
  }

  @Test("a word that accepts the last outstanding batch starts the pause of a refusal behind it")
  func startsPause() {
    var window = window()
    for index in 0..<2 {
      let first = UInt64(index * 10 + 1)
      window.add("batch \(index)", range: batchRange(first, first + 9), recordCount: 10)
      window.sent(index, mid: Int32(index + 1), at: time(0))
    }
    _ = window.answered(mid: 2, reason: .quotaExceeded, now: time(1))
    guard
      case .retrying = window.consumerSaid(word(10), now: time(2)).action,
      case .wait(let until?) = window.nextStep(now: time(2))
    else {
      Issue.record("nothing is outstanding any more, so the refused one is retried")
      return
    }
    #expect(window.nextStep(now: until) == .send(0))
  }

  @Test("other packets: what is held is not built again, what was not sent is")
  func forget() {
    var window = window()
    window.hold(2)
    window.add("batch 2", range: batchRange(21, 30), recordCount: 10)
    #expect(window.forget() == Sequence(21))
    #expect(window.heldRuns == [batchRange(1, 20)])
    #expect(window.forget() == nil)
  }

  @Test(
    "random walks: the cursor never passes a batch that the consumer has not", arguments: 0..<50)
  func randomWalk(seed: UInt64) {
    var generator = SplitMix(state: seed)
    var window = window(slots: 4, unaccepted: 12)
    var committed: Set<UInt64> = []
    var outstanding: [(mid: Int32, batch: UInt64)] = []
    var (next, nextMid, now) = (UInt64(0), Int32(1), Int64(0))
    var cursor = Sequence.none
    func check(_ outcome: DeliveryWindow<String>.Outcome) {
      guard let advanced = outcome.advanced else { return }
      #expect(advanced > cursor)
      for batch in cursor.rawValue / 10..<advanced.rawValue / 10 {
        #expect(committed.contains(batch), "batch \(batch) was passed without the consumer")
      }
      cursor = advanced
    }
    for _ in 0..<3_000 {
      now += 5
      switch window.nextStep(now: time(now)) {
      case .fill where Bool.random(using: &generator):
        check(
          window.add("\(next)", range: batchRange(next * 10 + 1, next * 10 + 10), recordCount: 1))
        next += 1
      case .send(let index):
        outstanding.append((nextMid, window.range(at: index).first.rawValue / 10))
        window.sent(index, mid: nextMid, at: time(now))
        nextMid += 1
      case .fill, .wait, .reconnect: break
      }
      if Int.random(in: 0..<40, using: &generator) == 0 {
        // Some of what was under way arrives all the same.
        for lost in outstanding where Bool.random(using: &generator) {
          committed.insert(lost.batch)
        }
        _ = window.connectionLost(nil, now: time(now))
        outstanding.removeAll()
        window.connected(outstandingMax: Int.random(in: 1...8, using: &generator))
      }
      if let pick = outstanding.indices.randomElement(using: &generator) {
        let answer = outstanding.remove(at: pick)
        let refuse = Int.random(in: 0..<10, using: &generator) == 0
        // The broker may lose what it took.
        if !refuse, Int.random(in: 0..<8, using: &generator) > 0 { committed.insert(answer.batch) }
        check(
          window.answered(
            mid: answer.mid, reason: refuse ? .quotaExceeded : .success, now: time(now)))
      }
      if Int.random(in: 0..<10, using: &generator) == 0, let last = committed.max() {
        let missing = (0..<last).filter { !committed.contains($0) }
          .map { batchRange($0 * 10 + 1, $0 * 10 + 10) }
        // What is missing comes once more, beside the window.
        for lost in missing where Bool.random(using: &generator) {
          committed.insert(lost.first.rawValue / 10)
        }
        check(
          window.consumerSaid(word(last * 10 + 10, missing: missing), now: time(now)))
      }
      #expect(window.slotCount <= 12)
    }
    #expect(cursor > .none)
  }
}

private struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ word >> 30) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ word >> 27) &* 0x94D0_49BB_1331_11EB
    return word ^ word >> 31
  }
}
