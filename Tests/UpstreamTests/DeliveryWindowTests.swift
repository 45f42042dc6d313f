// Goal: the cursor moves only over what was accepted, in order, whatever the broker answers.
// Method: the window is driven as a value with a manual clock; a random walk compares it with a
// plain model. Cannot show: that the loop performs the steps (IntegrationTests do).

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

private func window(slots: Int = 4, noSubscriber: Bool = false) -> DeliveryWindow<String> {
  var window = DeliveryWindow<String>(
    slotCountMax: slots, acceptance: .broker, acceptsNoSubscriber: noSubscriber)
  window.connected(outstandingMax: 100)
  return window
}

extension DeliveryWindow<String> {
  /// Adds batches of ten records and sends them all; the mids are 1, 2, 3 …
  fileprivate mutating func fillAndSend(_ count: Int) {
    for index in 0..<count {
      let first = UInt64(index * 10 + 1)
      add("batch \(index)", range: batchRange(first, first + 9), recordCount: 10)
      sent(index, mid: Int32(index + 1), at: time(0))
    }
  }
}

@Suite struct DeliveryWindowTests {
  @Test("a batch accepted out of turn does not move the cursor until the ones before it are")
  func contiguousOnly() {
    var window = window()
    window.fillAndSend(3)
    #expect(window.answered(mid: 2, reason: .success, now: time(1)).advanced == nil)
    #expect(window.answered(mid: 3, reason: .success, now: time(1)).advanced == nil)
    #expect(window.answered(mid: 1, reason: .success, now: time(1)).advanced == Sequence(30))
    #expect(window.isEmpty)
  }

  @Test("what needs no sending is passed in its turn, and again after a lost connection")
  func resolved() {
    var window = window()
    window.fillAndSend(1)
    window.add("expired", range: batchRange(11, 11), recordCount: 1)
    #expect(window.resolve(1, by: "kept").advanced == nil)
    _ = window.connectionLost(nil, now: time(1))
    window.connected(outstandingMax: 100)
    #expect(window.nextStep(now: time(1)) == .send(0))
    window.sent(0, mid: 7, at: time(1))
    #expect(window.nextStep(now: time(1)) == .send(1))
    #expect(window[1] == "kept" && window.item(sentAs: 7) == "batch 0")
    #expect(window.resolve(1, by: "kept").advanced == nil)
    let outcome = window.answered(mid: 7, reason: .success, now: time(2))
    #expect(outcome.advanced == Sequence(11))
    #expect(outcome.accepted == ["batch 0", "kept"])
  }

  @Test("an answer with an unknown mid changes nothing")
  func unknownAnswer() {
    var window = window()
    window.fillAndSend(1)
    guard case .unknown = window.answered(mid: 9, reason: .success, now: time(1)).action else {
      Issue.record("an unknown mid must be told apart")
      return
    }
    #expect(window.outstandingCount == 1)
  }

  @Test(
    "each reason code has its verdict",
    arguments: [
      (0x00, PublishVerdict.accepted), (0x10, .refused(.retry(alarm: true))),
      (0x80, .refused(.retry(alarm: false))), (0x83, .refused(.retry(alarm: false))),
      (0x87, .refused(.retry(alarm: true))), (0x90, .refused(.retry(alarm: true))),
      (0x91, .refused(.retry(alarm: false))), (0x95, .refused(.split)),
      (0x97, .refused(.retry(alarm: false))), (0x99, .refused(.split)),
      (0xA2, .refused(.retry(alarm: true))),
    ] as [(UInt8, PublishVerdict)])
  func verdicts(code: UInt8, verdict: PublishVerdict) {
    #expect(
      PublishVerdict(ReasonCode(rawValue: code), acceptsNoSubscriber: false) == verdict)
  }

  @Test("no matching subscribers is acceptance only where it was said to be")
  func noSubscribers() {
    #expect(
      PublishVerdict(.noMatchingSubscribers, acceptsNoSubscriber: true) == .accepted)
    var window = window(noSubscriber: false)
    window.fillAndSend(1)
    #expect(window.answered(mid: 1, reason: .noMatchingSubscribers, now: time(1)).advanced == nil)
  }

  @Test(
    "after a refusal nothing is sent until the outstanding are in, then all from the refused on")
  func refusalResendsInOrder() {
    var window = window()
    window.fillAndSend(3)
    window.add("batch 3", range: batchRange(31, 40), recordCount: 10)
    _ = window.answered(mid: 2, reason: .quotaExceeded, now: time(1))
    #expect(window.nextStep(now: time(1)) == .wait(until: time(30_001)))
    #expect(window.answered(mid: 1, reason: .success, now: time(2)).advanced == Sequence(10))
    guard
      case .retrying(alarm: false, _) = window.answered(mid: 3, reason: .success, now: time(3))
        .action
    else {
      Issue.record("the last outstanding answer starts the pause")
      return
    }
    guard case .wait(let until?) = window.nextStep(now: time(4)) else {
      Issue.record("a refused batch is not sent again at once")
      return
    }
    #expect(until > time(4))
    var order: [String] = []
    while case .send(let index) = window.nextStep(now: until) {
      order.append(window[index])
      window.sent(index, mid: Int32(100 + order.count), at: until)
    }
    #expect(order == ["batch 1", "batch 2", "batch 3"])
  }

  @Test("a lost connection resends everything not accepted, in order")
  func lostConnection() {
    var window = window()
    window.fillAndSend(3)
    _ = window.answered(mid: 1, reason: .success, now: time(1))
    _ = window.connectionLost(nil, now: time(2))
    window.connected(outstandingMax: 100)
    var order: [String] = []
    while case .send(let index) = window.nextStep(now: time(3)) {
      order.append(window[index])
      window.sent(index, mid: Int32(50 + order.count), at: time(3))
    }
    #expect(order == ["batch 1", "batch 2"])
  }

  @Test("a batch too large is read again in halves, a single record becomes a dead letter")
  func tooLarge() {
    var window = window()
    window.fillAndSend(2)
    _ = window.answered(mid: 1, reason: .success, now: time(1))
    guard
      case .rebuild(let range, let recordCountMax) =
        window.answered(mid: 2, reason: .packetTooLarge, now: time(2)).action
    else {
      Issue.record("many records are split")
      return
    }
    #expect(range.first == Sequence(11))
    #expect(recordCountMax == 5)
    #expect(window.isEmpty)
    window.add("one", range: SequenceRange(Sequence(11), Sequence(11)), recordCount: 1)
    guard case .deadLetter(let item, _, _) = window.tooLarge(0, now: time(3)).action else {
      Issue.record("one record cannot be split")
      return
    }
    #expect(item == "one")
  }

  @Test("a broker that leaves with “packet too large” means the oldest unanswered publish")
  func disconnectTooLarge() {
    var window = window()
    window.fillAndSend(2)
    _ = window.answered(mid: 1, reason: .success, now: time(1))
    guard case .rebuild(let range, _) = window.connectionLost(.packetTooLarge, now: time(2)).action
    else {
      Issue.record("the culprit is split")
      return
    }
    #expect(range.first == Sequence(11))
  }

  @Test("a publish without an answer for thirty seconds asks for a new connection")
  func silentBroker() {
    var window = window()
    window.fillAndSend(1)
    #expect(window.nextStep(now: time(29_999)) != .reconnect)
    #expect(window.nextStep(now: time(30_000)) == .reconnect)
  }

  @Test("as long as bytes leave or answers come, a slow link is not a silent broker")
  func slowLink() {
    var window = window()
    window.fillAndSend(2)
    window.progressed(at: time(20_000))
    #expect(window.nextStep(now: time(40_000)) != .reconnect)
    _ = window.answered(mid: 1, reason: .success, now: time(45_000))
    #expect(window.nextStep(now: time(74_999)) != .reconnect)
    #expect(window.nextStep(now: time(75_000)) == .reconnect)
  }

  @Test("of several unanswered publishes the largest was too large")
  func largestIsTooLarge() {
    var window = window()
    window.add("small", range: batchRange(1, 1), recordCount: 1, byteCount: 10)
    window.add("large", range: batchRange(2, 2), recordCount: 1, byteCount: 10_000)
    window.sent(0, mid: 1, at: time(0))
    window.sent(1, mid: 2, at: time(0))
    guard
      case .deadLetter(let item, _, _) = window.connectionLost(.packetTooLarge, now: time(1)).action
    else {
      Issue.record("one of them is to blame")
      return
    }
    #expect(item == "large")
  }

  @Test("a message that cannot be published as it is becomes a dead letter, not a reconnect")
  func undeliverable() {
    var window = window()
    window.add("odd topic", range: batchRange(1, 1), recordCount: 1)
    guard
      case .deadLetter(_, _, let reason) = window.undeliverable(0, .topicNameInvalid, now: time(1))
        .action
    else {
      Issue.record("one record cannot be split")
      return
    }
    #expect(reason == .topicNameInvalid)
  }

  @Test("never more outstanding than the broker's receive maximum, never more held than the slots")
  func limits() {
    var window = window(slots: 4)
    window.connected(outstandingMax: 2)
    for index in 0..<4 {
      let first = UInt64(index * 10 + 1)
      window.add("batch \(index)", range: batchRange(first, first + 9), recordCount: 10)
    }
    var sentCount = 0
    while case .send(let index) = window.nextStep(now: time(0)) {
      sentCount += 1
      window.sent(index, mid: Int32(sentCount), at: time(0))
    }
    #expect(sentCount == 2)
    #expect(window.nextStep(now: time(0)) != .fill)
  }

  @Test(
    "random walks: the cursor never passes a batch the broker did not accept", arguments: 0..<50)
  func randomWalk(seed: UInt64) {
    var generator = SplitMix(state: seed)
    var window = window(slots: 8)
    var accepted: Set<UInt64> = []
    var outstanding: [(mid: Int32, batch: UInt64)] = []
    var nextBatch: UInt64 = 0
    var nextMid: Int32 = 1
    var cursor = Sequence.none
    var now: Int64 = 0
    for _ in 0..<2_000 {
      now += 5
      switch window.nextStep(now: time(now)) {
      case .fill where Bool.random(using: &generator):
        window.add(
          "\(nextBatch)", range: batchRange(nextBatch * 10 + 1, nextBatch * 10 + 10), recordCount: 1
        )
        nextBatch += 1
      case .send(let index):
        outstanding.append((nextMid, UInt64(window[index]) ?? .max))
        window.sent(index, mid: nextMid, at: time(now))
        nextMid += 1
      case .fill, .wait, .reconnect: break
      }
      if Int.random(in: 0..<40, using: &generator) == 0 {
        _ = window.connectionLost(nil, now: time(now))
        outstanding.removeAll()
        window.connected(outstandingMax: Int.random(in: 1...8, using: &generator))
      }
      guard let pick = outstanding.indices.randomElement(using: &generator),
        Bool.random(using: &generator)
      else { continue }
      let answer = outstanding.remove(at: pick)
      let refuse = Int.random(in: 0..<10, using: &generator) == 0
      if !refuse { accepted.insert(answer.batch) }
      let outcome = window.answered(
        mid: answer.mid, reason: refuse ? .quotaExceeded : .success, now: time(now))
      if let advanced = outcome.advanced {
        #expect(advanced > cursor)
        for batch in cursor.rawValue / 10..<advanced.rawValue / 10 {
          #expect(accepted.contains(batch), "batch \(batch) was passed without acceptance")
        }
        cursor = advanced
      }
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
