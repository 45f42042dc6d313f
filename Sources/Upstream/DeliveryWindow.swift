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
/// 4. At most `slotCountMax` slots: memory is bounded by slots × packet size.
///
/// ## Life of a slot
///
///     add → waiting → sent(mid) → accepted → popped with the contiguous run
///              ▲          │           (`accept: hub`: → held until the consumer's own commit)
///              └──────────┴── refusal, lost connection: rewound to waiting
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
    case held
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

    func isSent(mid: Int32) -> Bool {
      if case .sent(mid, _) = state { true } else { false }
    }
  }

  private enum Gate {
    case open
    case closed(index: Int, Refusal, ReasonCode)
    case backingOff(until: MonotonicTime)
  }

  package let slotCountMax: Int
  private let acceptance: Acceptance
  private let acceptsNoSubscriber: Bool
  private let answerTimeout: Duration
  private var slots: [Slot] = []
  private var gate: Gate = .open
  /// When an answer came or bytes left.
  private var lastProgress = MonotonicTime(nanoseconds: .min)
  private var backoff: Backoff
  /// Publishes the broker lets us have outstanding; from its CONNACK.
  private var outstandingMax: Int

  /// - Parameter answerTimeout: a publish unanswered for longer means the answer is not coming.
  package init(
    slotCountMax: Int, acceptance: Acceptance, acceptsNoSubscriber: Bool,
    answerTimeout: Duration = .seconds(30), backoff: Backoff = Backoff()
  ) {
    precondition(slotCountMax > 0, "a window has room for something")
    self.slotCountMax = slotCountMax
    self.acceptance = acceptance
    self.acceptsNoSubscriber = acceptsNoSubscriber
    self.answerTimeout = answerTimeout
    self.backoff = backoff
    self.outstandingMax = slotCountMax
    slots.reserveCapacity(slotCountMax)
  }

  package var isEmpty: Bool { slots.isEmpty }
  package var slotCount: Int { slots.count }
  package var outstandingCount: Int {
    slots.count { if case .sent = $0.state { true } else { false } }
  }

  package subscript(index: Int) -> Item { slots[index].item }
  package func range(at index: Int) -> SequenceRange { slots[index].range }

  /// - Parameter byteCount: of the packet, to tell the largest of several.
  package mutating func add(
    _ item: Item, range: SequenceRange, recordCount: Int, byteCount: Int = 0
  ) {
    precondition(slots.count < slotCountMax, "the window was asked for room first")
    if let last = slots.last {
      precondition(last.range.last.next == range.first, "batches adjoin")
    }
    slots.append(
      Slot(
        item: item, range: range, recordCount: recordCount, byteCount: byteCount, state: .waiting))
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
    if outstandingCount < outstandingMax,
      let index = slots.firstIndex(where: { $0.state == .waiting })
    {
      return .send(index)
    }
    if slots.count < slotCountMax { return .fill }
    return .wait(until: answerDeadline)
  }

  /// When `nextStep` must be asked again even if nothing arrives.
  package var answerDeadline: MonotonicTime? {
    oldestSent.map { max($0, lastProgress) + answerTimeout }
  }

  package mutating func sent(_ index: Int, mid: Int32, at now: MonotonicTime) {
    precondition(slots[index].state == .waiting, "only a waiting batch is sent")
    slots[index].state = .sent(mid: mid, at: now)
  }

  /// A fresh connection: everything not accepted is sent again, from the front.
  package mutating func connected(outstandingMax: Int) {
    self.outstandingMax = max(1, min(outstandingMax, slotCountMax))
    rewind(from: 0)
  }

  /// The connection is gone; answers for it will not come. A broker that leaves with "packet too
  /// large" (MQTT 5.0, 4.13) means a publish it did not answer: the largest of them.
  package mutating func connectionLost(_ reason: ReasonCode?, now: MonotonicTime) -> Outcome {
    let culprit = slots.indices.filter { slots[$0].sentAt != nil }
      .max { slots[$0].byteCount < slots[$1].byteCount }
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
      slots[index].state = acceptance == .hub ? .held : .accepted
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

  /// `accept: hub`: the consumer has committed everything through `sequence`, except `missing`,
  /// which is read and sent again. What of `missing` the cursor has passed is not held any more.
  package mutating func consumerAccepted(
    through sequence: Sequence, missing: SequenceRange?
  ) -> Outcome {
    guard let front = slots.first else { return Outcome() }
    let missing = missing.flatMap { $0.last < front.range.first ? nil : $0 }
    for index in slots.indices where slots[index].range.last <= sequence {
      if let missing, slots[index].range.last >= missing.first { continue }
      slots[index].state = .accepted
    }
    var outcome = popAccepted()
    if let missing, let index = slots.firstIndex(where: { $0.range.last >= missing.first }) {
      let first = slots[index].range.first
      slots.removeSubrange(index...)
      if case .closed(let refused, _, _) = gate, refused >= index { gate = .open }
      outcome.action = .rebuild(
        SequenceRange(first, max(first, missing.last)), recordCountMax: .max)
    }
    return outcome
  }

  /// Forgets everything not accepted, as when packets must be built anew to another limit.
  /// - Returns: where to read again, or nil when nothing was held.
  package mutating func forget() -> Sequence? {
    defer { slots.removeAll(keepingCapacity: true) }
    gate = .open
    return slots.first?.range.first
  }

  // MARK: -

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
      gate = index < count ? .open : .closed(index: index - count, refusal, reason)
    }
    return outcome
  }

  private mutating func rewind(from index: Int) {
    for index in slots.indices.dropFirst(index) { slots[index].state = .waiting }
  }
}
