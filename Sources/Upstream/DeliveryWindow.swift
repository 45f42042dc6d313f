package import GatewayCore
package import Mosquitto

/// The in-flight window of one sink: which batches are out, which were accepted, and what to do
/// next. A pure value: no I/O, no clock, no logger. The owner asks `nextStep`, performs it, and
/// reports back.
///
/// ## Invariants
/// 1. Slots are in sequence order and adjoin: `slot[n].last + 1 == slot[n+1].first`.
/// 2. The cursor (what `acknowledged` answers) moves only over a contiguous run of accepted slots
///    from the front: nothing is passed because it was sent or because a later one was accepted.
/// 3. After a refusal nothing is sent until every outstanding answer is in; then the refused batch
///    and all after it are sent again, in order. So a consumer that applies by sequence, and one
///    that keeps the last value seen, both end right.
/// 4. At most `slotCountMax` slots hold an item as it is to be sent: memory is bounded by slots ×
///    packet size. With `accept: hub` up to `unacceptedMax` slots are there, but what the broker
///    has keeps only its range; it is read again, beside this window, when the consumer misses it.
///
/// ## Life of a slot
///
///     add → waiting → sent(mid) → accepted → popped with the contiguous run
///              ▲          │           (`accept: hub`: → held until the consumer's own commit)
///              └──────────┴── refusal, lost connection: rewound to waiting, unless held
package struct DeliveryWindow<Item: Sendable>: Sendable {
  package enum Step: Equatable, Sendable {
    /// There is room: add another batch if the journal has one.
    case fill
    /// Publish the slot at this index.
    case send(Int)
    /// Nothing to do before an answer or, when given, before this time.
    case wait(until: MonotonicTime?)
    /// An answer is overdue: drop the connection and resend.
    case reconnect
  }

  /// What an answer led to: perhaps the cursor moves, perhaps there is something to do.
  package struct Outcome {
    /// Everything up to here is accepted, for good.
    package var advanced: Sequence?
    /// The items that `advanced` covers, in order.
    package var accepted: [Item] = []
    /// From publish to this answer.
    package var latency: Duration?
    package var action: Action = .none
  }

  package enum Action {
    case none
    /// An answer that belongs to no outstanding slot; ignored.
    case unknown
    /// Sending stopped; the refused run is sent again after the pause that `nextStep` tells.
    case retrying(alarm: Bool, reason: ReasonCode)
    /// Slots from `range.first` on are forgotten: read them again, `recordCountMax` at a time until
    /// `range.last` is passed.
    case rebuild(SequenceRange, recordCountMax: Int)
    /// One record the centre refuses for good. Slots from it on are forgotten: store it, then read
    /// again from it, eliding it.
    case deadLetter(Item, SequenceRange, reason: ReasonCode)
  }

  private enum State: Equatable {
    case waiting
    case sent(mid: Int32, at: MonotonicTime)
    case accepted
    /// The broker has it, the consumer has not said so yet (`accept: hub`).
    case held(since: MonotonicTime)
    case refused
  }

  private struct Slot {
    var item: Item
    let range: SequenceRange
    let recordCount: Int
    let byteCount: Int
    var state: State

    var sentAt: MonotonicTime? {
      if case .sent(_, let time) = state { time } else { nil }
    }

    var heldSince: MonotonicTime? {
      if case .held(let time) = state { time } else { nil }
    }

    func isSent(mid: Int32) -> Bool {
      if case .sent(mid, _) = state { true } else { false }
    }
  }

  private enum Gate {
    case open
    case closed(index: Int, Refusal, ReasonCode)
    case backingOff(until: MonotonicTime)
  }

  /// May change at any time; what is there stays.
  package var slotCountMax: Int
  /// Slots of any kind; with `accept: hub` below what the broker keeps for the consumer.
  private let unacceptedMax: Int
  private let acceptance: Acceptance
  /// What is kept of an item that will not be sent from memory again.
  private let lightened: @Sendable (Item) -> Item
  /// What the consumer said last: true of slots that come later, too.
  private var word: ConsumerWord?
  private let acceptsNoSubscriber: Bool
  private let answerTimeout: Duration
  private var slots: [Slot] = []
  private var gate: Gate = .open
  /// When an answer came or bytes left.
  private var lastProgress = MonotonicTime(nanoseconds: .min)
  private var backoff: Backoff
  /// Publishes the broker lets us have outstanding; from its CONNACK.
  private var outstandingMax: Int

  /// - Parameters:
  ///   - unacceptedMax: with `accept: hub`, slots that the consumer has not accepted.
  ///   - answerTimeout: a publish unanswered for longer means the answer is not coming.
  ///   - lightened: an item without what only sending needs.
  package init(
    slotCountMax: Int, acceptance: Acceptance, acceptsNoSubscriber: Bool,
    unacceptedMax: Int = SinkOptions.unacceptedLimit, answerTimeout: Duration = .seconds(30),
    backoff: Backoff = Backoff(), lightened: @escaping @Sendable (Item) -> Item = { $0 }
  ) {
    precondition(slotCountMax > 0 && unacceptedMax > 0, "a window has room for something")
    self.slotCountMax = slotCountMax
    self.unacceptedMax = acceptance == .hub ? unacceptedMax : slotCountMax
    self.lightened = lightened
    self.acceptance = acceptance
    self.acceptsNoSubscriber = acceptsNoSubscriber
    self.answerTimeout = answerTimeout
    self.backoff = backoff
    self.outstandingMax = .max
    slots.reserveCapacity(slotCountMax)
  }

  package var isEmpty: Bool { slots.isEmpty }
  package var slotCount: Int { slots.count }
  package var outstandingCount: Int {
    slots.count { if case .sent = $0.state { true } else { false } }
  }

  package subscript(index: Int) -> Item { slots[index].item }
  package func range(at index: Int) -> SequenceRange { slots[index].range }

  package var hasRoom: Bool {
    slots.count < unacceptedMax && slots.count { !isLight($0) } < slotCountMax
  }

  /// - Parameter byteCount: of the packet, to tell the largest of several.
  /// - Returns: the acceptance of what the consumer turns out to have already.
  @discardableResult
  package mutating func add(
    _ item: Item, range: SequenceRange, recordCount: Int, byteCount: Int = 0
  ) -> Outcome {
    precondition(hasRoom, "the window was asked for room first")
    if let last = slots.last {
      precondition(last.range.last.next == range.first, "batches adjoin")
    }
    slots.append(
      Slot(
        item: item, range: range, recordCount: recordCount, byteCount: byteCount, state: .waiting))
    guard let word else { return Outcome() }
    acceptCovered(by: word)
    return popAccepted()
  }

  /// The item whose publish has this mid.
  package func item(sentAs mid: Int32) -> Item? { slots.first { $0.isSent(mid: mid) }?.item }

  /// Sends `item` instead of what waits at `index`; it accounts for the same sequences.
  package mutating func replace(_ index: Int, by item: Item) {
    precondition(slots[index].state == .waiting, "only what waits can be replaced")
    slots[index].item = item
  }

  /// What waits at `index` needs no sending: its sequences are accounted for elsewhere, as `item`
  /// says. A new connection makes it wait again, and the owner resolves it again.
  package mutating func resolve(_ index: Int, by item: Item) -> Outcome {
    replace(index, by: item)
    slots[index].state = .accepted
    return popAccepted()
  }

  package mutating func nextStep(now: MonotonicTime) -> Step {
    if case .backingOff(let until) = gate {
      guard now >= until else { return .wait(until: until) }
      gate = .open
    }
    if let deadline = answerDeadline, now >= deadline { return .reconnect }
    guard case .open = gate else { return .wait(until: answerDeadline) }
    if outstandingCount < min(outstandingMax, slotCountMax),
      let index = slots.firstIndex(where: { $0.state == .waiting })
    {
      return .send(index)
    }
    if hasRoom { return .fill }
    return .wait(until: answerDeadline)
  }

  /// When `nextStep` must be asked again even if nothing arrives.
  package var answerDeadline: MonotonicTime? {
    oldestSent.map { max($0, lastProgress) + answerTimeout }
  }

  /// Whether a publish with this mid has no answer yet.
  package func awaitsAnswer(mid: Int32) -> Bool { slots.contains { $0.isSent(mid: mid) } }

  package mutating func sent(_ index: Int, mid: Int32, at now: MonotonicTime) {
    precondition(slots[index].state == .waiting, "only a waiting batch is sent")
    slots[index].state = .sent(mid: mid, at: now)
  }

  /// A fresh connection: everything not accepted is sent again, from the front; what is held is
  /// with the broker, and stays held.
  package mutating func connected(outstandingMax: Int) {
    self.outstandingMax = max(1, outstandingMax)
    rewind(from: 0)
  }

  /// The connection is gone; answers for it will not come. A broker that leaves with "packet too
  /// large" (MQTT 5.0, 4.13) means a publish it did not answer: the largest of them.
  package mutating func connectionLost(_ reason: ReasonCode?, now: MonotonicTime) -> Outcome {
    let culprit = largestSent
    rewind(from: 0)
    if case .closed = gate { gate = .open }
    guard reason == .packetTooLarge, let culprit else { return Outcome() }
    return tooLarge(culprit, now: now)
  }

  /// The PUBACK for `mid`. Never moves the cursor past anything not accepted.
  package mutating func answered(
    mid: Int32, reason: ReasonCode, now: MonotonicTime
  ) -> Outcome {
    guard let index = slots.firstIndex(where: { $0.isSent(mid: mid) }) else {
      return Outcome(action: .unknown)
    }
    let latency = slots[index].sentAt.map { now.since($0) }
    lastProgress = now
    switch PublishVerdict(reason, acceptsNoSubscriber: acceptsNoSubscriber) {
    case .accepted:
      if acceptance == .hub {
        slots[index].state = .held(since: now)
        slots[index].item = lightened(slots[index].item)
      } else {
        slots[index].state = .accepted
      }
    case .refused(let refusal):
      slots[index].state = .refused
      close(index: index, refusal, reason)
    }
    var outcome = settle(now: now)
    outcome.latency = latency
    return outcome
  }

  /// The batch at `index` cannot be sent as it is (larger than the broker's maximum).
  package mutating func tooLarge(_ index: Int, now: MonotonicTime) -> Outcome {
    undeliverable(index, .packetTooLarge, now: now)
  }

  /// The batch at `index` was refused before it left, and would be again: as if the broker had said
  /// so, it is split, down to the record that is to blame.
  package mutating func undeliverable(
    _ index: Int, _ reason: ReasonCode, now: MonotonicTime
  ) -> Outcome {
    slots[index].state = .refused
    close(index: index, .split, reason)
    return settle(now: now)
  }

  /// Bytes have left for the broker: answers may still come.
  package mutating func progressed(at now: MonotonicTime) { lastProgress = now }

  /// The size of the largest packet that has no answer.
  package var largestOutstanding: Int? { largestSent.map { slots[$0].byteCount } }

  /// Forgets what has not left for good, as when packets must be built anew to another limit. What
  /// is held is forgotten only behind the first that is not.
  /// - Returns: where to read again, or nil when there is nothing to be sent.
  package mutating func forget() -> Sequence? {
    gate = .open
    guard let index = slots.firstIndex(where: { !isLight($0) }) else { return nil }
    defer { slots.removeSubrange(index...) }
    return slots[index].range.first
  }

  // MARK: -

  private var largestSent: Int? {
    slots.indices.filter { slots[$0].sentAt != nil }
      .max { slots[$0].byteCount < slots[$1].byteCount }
  }

  private var oldestSent: MonotonicTime? {
    var oldest: MonotonicTime?
    for slot in slots {
      if let time = slot.sentAt { oldest = oldest.map { min($0, time) } ?? time }
    }
    return oldest
  }

  private mutating func close(index: Int, _ refusal: Refusal, _ reason: ReasonCode) {
    if case .closed(let earlier, _, _) = gate, earlier < index { return }
    gate = .closed(index: index, refusal, reason)
  }

  /// Pops what is accepted; once a closed gate has no answers outstanding, decides what follows.
  private mutating func settle(now: MonotonicTime) -> Outcome {
    var outcome = popAccepted()
    guard case .closed(let index, let refusal, let reason) = gate, outstandingCount == 0 else {
      if outcome.advanced != nil { backoff.succeeded() }
      return outcome
    }
    switch refusal {
    case .retry(let alarm):
      rewind(from: index)
      gate = .backingOff(until: now + backoff.next())
      outcome.action = .retrying(alarm: alarm, reason: reason)
    case .split where slots[index].recordCount == 0:
      // Only gaps and elided sequences: nothing to split, nothing to store, and not to be dropped.
      rewind(from: index)
      gate = .backingOff(until: now + backoff.next())
      outcome.action = .retrying(alarm: true, reason: reason)
    case .split:
      let slot = slots[index]
      slots.removeSubrange(index...)
      gate = .open
      outcome.action =
        slot.recordCount > 1
        ? .rebuild(slot.range, recordCountMax: slot.recordCount / 2)
        : .deadLetter(slot.item, slot.range, reason: reason)
    }
    return outcome
  }

  private mutating func popAccepted() -> Outcome {
    var count = 0
    while count < slots.count, slots[count].state == .accepted { count += 1 }
    guard count > 0 else { return Outcome() }
    let outcome = Outcome(
      advanced: slots[count - 1].range.last, accepted: slots[..<count].map(\.item))
    slots.removeFirst(count)
    if case .closed(let index, let refusal, let reason) = gate {
      // Only the consumer's own word can accept what the broker refused.
      if index < count {
        openGate()
      } else {
        gate = .closed(index: index - count, refusal, reason)
      }
    }
    return outcome
  }

  /// The refusal is settled otherwise; what else was refused meanwhile is sent again.
  private mutating func openGate() {
    gate = .open
    for index in slots.indices where slots[index].state == .refused {
      slots[index].state = .waiting
    }
  }

  private mutating func rewind(from index: Int) {
    for index in slots.indices.dropFirst(index) where !isLight(slots[index]) {
      slots[index].state = .waiting
    }
  }

  /// Nothing of it is sent again from here: the broker has it, or the consumer itself.
  private func isLight(_ slot: Slot) -> Bool {
    switch slot.state {
    case .held: true
    case .accepted: acceptance == .hub
    case .waiting, .sent, .refused: false
    }
  }
}

// MARK: - accept: hub

/// What a consumer said of this journal, as far as it can be believed.
package struct ConsumerWord: Sendable, Equatable {
  /// Everything up to here is committed there, except `missing`.
  package var through: Sequence
  /// Ascending, disjoint.
  package var missing: [SequenceRange]

  package init(through: Sequence, missing: [SequenceRange] = []) {
    self.through = through
    self.missing = missing
  }

  /// Whether all of `range` is committed there.
  func covers(_ range: SequenceRange) -> Bool {
    range.last <= through
      && !missing.contains { $0.first <= range.last && range.first <= $0.last }
  }
}

extension DeliveryWindow {
  /// The consumer has spoken. It may speak of batches that were sent on an earlier connection, or
  /// by an earlier process: those are accepted when they are added.
  package mutating func consumerSaid(_ word: ConsumerWord, now: MonotonicTime) -> Outcome {
    precondition(acceptance == .hub, "a consumer is listened to where it accepts")
    self.word = word
    acceptCovered(by: word)
    return settle(now: now)
  }

  private mutating func acceptCovered(by word: ConsumerWord) {
    for index in slots.indices {
      let slot = slots[index]
      if slot.range.first > word.through { break }
      guard slot.state != .accepted, word.covers(slot.range) else { continue }
      slots[index].state = .accepted
      if slot.heldSince == nil { slots[index].item = lightened(slot.item) }
      if case .closed(index, _, _) = gate { openGate() }
    }
  }

  package var heldCount: Int { slots.count { $0.heldSince != nil } }

  /// What the consumer's word is awaited about, at the front of everything.
  package var oldestHeld: (range: SequenceRange, since: MonotonicTime)? {
    slots.first.flatMap { slot in slot.heldSince.map { (slot.range, $0) } }
  }

  /// The sequences that are with the broker and not accepted, in runs.
  package var heldRuns: [SequenceRange] {
    var runs: [SequenceRange] = []
    for slot in slots where slot.heldSince != nil {
      if let last = runs.last, last.last.next == slot.range.first {
        runs[runs.count - 1] = SequenceRange(last.first, slot.range.last)
      } else {
        runs.append(slot.range)
      }
    }
    return runs
  }

  /// From the front on, what the broker took before `time` and the consumer has not accepted.
  package func frontHeld(before time: MonotonicTime) -> SequenceRange? {
    let run = slots.prefix { $0.heldSince.map { $0 < time } ?? false }
    guard let first = run.first, let last = run.last else { return nil }
    return SequenceRange(first.range.first, last.range.last)
  }
}
