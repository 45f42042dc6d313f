package import GatewayCore

/// The oracle: holds what the producers sent, what was acknowledged to them and what the centre got
/// against each other. It knows nothing of the gateway but the words of the envelope.
///
///     S  sent: every message before it leaves the producer, once per (topic, message id)
///     A  acknowledged: its PUBACK has *arrived* at the producer
///     D  delivered: the data events the independent subscriber has received (a multiset)
///
///     lost            A − D             a promise broken
///     invented        D − S             nobody sent it
///     corrupt         in D with another payload than in S
///     duplicated      one message of D under two (journal, epoch, sequence)
///     redelivered     the same (journal, epoch, sequence) again: allowed after a crash, bounded
///     out of order    per source topic, by sequence: a message behind a later one of its producer;
///                     and the same by arrival at the centre, redelivery left out
///     unaccounted     a sequence between first and last of an envelope that it does not account
///                     for (or twice), or one between two envelopes that no envelope names
///     reused          one (journal, sequence) for two messages in one epoch: a bug
///     overlapping     the same in two epochs: the journal was rolled back to an older image, or a
///                     clone of it runs in another gateway: an alarm
///
/// With an event store behind the centre (`beginStore`), by what it says it holds (H, a multiset):
///
///     not applied     A − H
///     applied twice   one message of H at two positions
///
/// and what is in H and not in S, or with another payload, is invented or corrupt.
///
/// Gaps and dead letters are the gateway's honest words about loss; they are counted apart, and a
/// message inside a gap is still lost. `untold` is how many more are lost than gaps speak of.
///
/// A value without I/O. Memory: at most about 80 bytes per message; `messageCountMax` messages,
/// what comes beyond is counted as `unaudited` and no report with such messages is clean.
package struct DeliveryAudit: Sendable {
  /// A stable name for one message: 64-bit hash of topic and id. Two of 1,000,000 messages collide
  /// with a probability below 1 in 10,000,000; the audit would then report, not hide, an error.
  package struct MessageKey: Hashable, Sendable {
    fileprivate let value: UInt64

    package init(topic: some StringProtocol, id: some StringProtocol) {
      var digest = Digest()
      for byte in topic.utf8 { digest.add(byte) }
      digest.add(0)  // no topic contains it (MQTT 5.0, section 4.7.3)
      for byte in id.utf8 { digest.add(byte) }
      value = digest.value
    }
  }

  package static let messageCountMaxDefault = 4_000_000
  static let sampleCountMax = 20

  private struct Message {
    let source: UInt32
    /// Position among the messages of its source, from 0: the producer's order.
    let order: UInt32
    let payload: UInt64
    var isAcknowledged = false
    /// Where it was first delivered.
    var life: UInt16 = 0
    var sequence: Sequence = .none
    var isApplied = false
    var isDelivered: Bool { sequence != .none }
  }

  private struct Source {
    let topic: String
    var nextOrder: UInt32 = 0
    var lastArrived: Int64 = -1
  }

  private struct Journal {
    let id: JournalID
    var coverage = SequenceCoverage()
    /// What gaps speak of.
    var gaps = SequenceCoverage()
    /// Message number + 1 by sequence; 0 for "not seen".
    var messages: [UInt32] = []
    /// The life in which the sequence was first seen, by sequence.
    var lives: [UInt16] = []
  }

  private struct Life: Hashable {
    let journal: Int
    let epoch: Epoch
  }

  private let messageCountMax: Int
  private var numbers: [MessageKey: UInt32] = [:]
  private var messages: ContiguousArray<Message> = []
  private var sources: [Source] = []
  private var sourceNumbers: [String: UInt32] = [:]
  private var journals: [Journal] = []
  private var lives: [Life] = []
  /// The envelope that is being read: which life, and the ranges it has accounted for so far.
  private var envelope: (life: Int, range: SequenceRange)?
  private var accounted: [SequenceRange] = []

  /// Live counters; the derived ones (loss, order by sequence, coverage) come with `report()`.
  package private(set) var counts = AuditCounts()
  private var samples: [String] = []
  private var hasStore = false

  package init(messageCountMax: Int = DeliveryAudit.messageCountMaxDefault) {
    precondition(
      messageCountMax > 0 && messageCountMax < Int(UInt32.max), "message numbers are u32")
    self.messageCountMax = messageCountMax
  }

  // MARK: The producer's side

  /// A message is about to leave its producer. A second call with the same topic and id is a
  /// deliberate repeat; its payload must be the first one's.
  package mutating func sent(topic: String, id: String, payload: Span<UInt8>) {
    counts.sends += 1
    let key = MessageKey(topic: topic, id: id)
    guard numbers[key] == nil else { return }
    guard messages.count < messageCountMax else {
      counts.unaudited += 1
      return
    }
    let source = sourceNumber(topic)
    numbers[key] = UInt32(messages.count)
    messages.append(
      Message(
        source: source, order: sources[Int(source)].nextOrder, payload: Digest(payload).value))
    sources[Int(source)].nextOrder += 1
    counts.sent += 1
  }

  /// The PUBACK of a message has arrived at its producer.
  package mutating func acknowledged(topic: some StringProtocol, id: some StringProtocol) {
    guard let number = numbers[MessageKey(topic: topic, id: id)] else { return }
    guard !messages[Int(number)].isAcknowledged else { return }
    messages[Int(number)].isAcknowledged = true
    counts.acknowledged += 1
    if !messages[Int(number)].isDelivered { counts.outstanding += 1 }
  }

  // MARK: The centre's side: one envelope = begin, its content in any order, end

  package mutating func beginEnvelope(
    journal: JournalID, epoch: Epoch, first: Sequence, last: Sequence
  ) {
    precondition(envelope == nil, "an envelope is ended before the next one begins")
    counts.envelopes += 1
    guard first <= last, first > .none else {
      counts.unaccounted += 1
      note("envelope \(first)–\(last) of journal \(journal) runs backward")
      return
    }
    let range = SequenceRange(first, last)
    envelope = (lifeNumber(journal, epoch), range)
    accounted.removeAll(keepingCapacity: true)
  }

  /// A data event of the present envelope.
  package mutating func event(
    sequence: Sequence, topic: some StringProtocol, id: some StringProtocol, payload: Span<UInt8>
  ) {
    guard let envelope else { return }
    accounted.append(SequenceRange(sequence, sequence))
    counts.events += 1
    guard let number = numbers[MessageKey(topic: topic, id: id)] else {
      // What was not recorded for lack of room may well come back; it is not invented.
      if counts.unaudited == 0 {
        counts.invented += 1
        note("invented: \(topic) id \(id), sequence \(sequence)")
      }
      return
    }
    if Digest(payload).value != messages[Int(number)].payload {
      counts.corrupt += 1
      note("corrupt: \(name(number)), id \(id), sequence \(sequence)")
    }
    place(number, sequence, life: envelope.life)
    deliver(number, sequence, life: envelope.life)
  }

  /// A dead letter of the present envelope: accounted for, not delivered.
  package mutating func deadLetter(
    sequence: Sequence, topic: some StringProtocol, id: some StringProtocol
  ) {
    guard envelope != nil else { return }
    accounted.append(SequenceRange(sequence, sequence))
    counts.deadLetters += 1
  }

  package mutating func gap(_ gap: Gap) {
    guard let envelope else { return }
    accounted.append(gap.range)
    counts.gaps += 1
    let journal = lives[envelope.life].journal
    let before = journals[journal].gaps.count
    journals[journal].gaps.insert(gap.range)
    counts.gapSequences += journals[journal].gaps.count - before
    note("gap: \(gap.range), \(gap.reason.text)" + (gap.topic.map { " of \($0)" } ?? ""))
  }

  package mutating func elided(_ range: SequenceRange) {
    guard envelope != nil else { return }
    accounted.append(range)
  }

  /// Checks that the envelope has accounted for first..last, each sequence once.
  package mutating func endEnvelope() {
    guard let (life, range) = envelope else { return }
    envelope = nil
    accounted.sort { $0.first < $1.first }
    var next = range.first
    var isExact = true
    for part in accounted {
      if part.first != next { isExact = false }
      next = part.last.next
    }
    if !isExact || next != range.last.next {
      counts.unaccounted += 1
      note("envelope \(range) does not account for each of its sequences once")
    }
    for part in accounted { journals[lives[life].journal].coverage.insert(part) }
  }

  /// Something arrived at the centre that is no envelope.
  package mutating func undecodable(_ reason: String) {
    counts.undecodable += 1
    note("undecodable: \(reason)")
  }

  // MARK: The event store's side

  /// From now on what was acknowledged must also be `applied`.
  package mutating func beginStore() { hasStore = true }

  /// An event of the store that came from a gateway. `payload`: nil where the store keeps it in
  /// words of its own.
  package mutating func applied(
    topic: some StringProtocol, id: some StringProtocol, payload: [UInt8]?
  ) {
    guard let number = numbers[MessageKey(topic: topic, id: id)] else {
      guard counts.unaudited == 0 else { return }
      counts.invented += 1
      return note("invented, in the event store: \(topic) id \(id)")
    }
    if let payload, Digest(payload.span).value != messages[Int(number)].payload {
      counts.corrupt += 1
      note("corrupt in the event store: \(name(number)), id \(id)")
    }
    guard !messages[Int(number)].isApplied else {
      counts.appliedTwice += 1
      return note("applied twice: \(name(number))")
    }
    messages[Int(number)].isApplied = true
    counts.applied += 1
  }

  // MARK: The verdict

  package func report() -> AuditReport {
    var counts = counts
    var samples = samples
    for (index, message) in messages.enumerated()
    where message.isAcknowledged && !message.isDelivered {
      counts.lost += 1
      Self.note("lost: \(name(UInt32(index)))", in: &samples)
    }
    if hasStore {
      for (index, message) in messages.enumerated()
      where message.isAcknowledged && !message.isApplied {
        counts.notApplied += 1
        Self.note("not applied: \(name(UInt32(index)))", in: &samples)
      }
    }
    counts.untold = counts.lost - min(counts.lost, counts.gapSequences)
    for journal in journals {
      for range in journal.coverage.missing {
        counts.unaccounted += range.count
        Self.note("unaccounted: \(range) of journal \(journal.id)", in: &samples)
      }
    }
    counts.outOfOrderBySequence = inversionsBySequence(&samples)
    return AuditReport(counts: counts, samples: samples, sources: sources.count)
  }

  /// The producer's order against the order of sequences; journals in the order in which they were
  /// first heard of. Counts messages that stand behind a later one of their source.
  private func inversionsBySequence(_ samples: inout [String]) -> UInt64 {
    var lastOrder = [Int64](repeating: -1, count: sources.count)
    var count: UInt64 = 0
    for journal in journals {
      for number in journal.messages where number != 0 {
        let message = messages[Int(number - 1)]
        let source = Int(message.source)
        if Int64(message.order) < lastOrder[source] {
          count += 1
          Self.note("out of order: \(name(number - 1))", in: &samples)
        }
        lastOrder[source] = max(lastOrder[source], Int64(message.order))
      }
    }
    return count
  }
}

extension DeliveryAudit {
  /// Two messages must not share a sequence of one journal, whatever the epoch.
  private mutating func place(_ number: UInt32, _ sequence: Sequence, life: Int) {
    let journal = lives[life].journal
    guard sequence.rawValue <= UInt64(messageCountMax) * 4 else {
      counts.unaudited += 1
      return
    }
    let index = Int(sequence.rawValue)
    let missing = index + 1 - journals[journal].messages.count
    if missing > 0 {
      journals[journal].messages.append(contentsOf: repeatElement(0, count: missing))
      journals[journal].lives.append(contentsOf: repeatElement(0, count: missing))
    }
    let present = journals[journal].messages[index]
    if present == 0 {
      journals[journal].messages[index] = number + 1
      journals[journal].lives[index] = UInt16(life)
      return
    }
    guard present != number + 1 else { return }
    let names = "sequence \(sequence) names both \(name(present - 1)) and \(name(number))"
    let first = Int(journals[journal].lives[index])
    if first == life {
      counts.reused += 1
      return note(names)
    }
    counts.overlapping += 1
    note(
      "rollback or clone of journal \(journals[journal].id): \(names), in the epochs "
        + "\(lives[first].epoch) and \(lives[life].epoch)")
  }

  private mutating func deliver(_ number: UInt32, _ sequence: Sequence, life: Int) {
    var message = messages[Int(number)]
    if message.isDelivered {
      if message.sequence == sequence && Int(message.life) == life {
        counts.redelivered += 1
      } else {
        counts.duplicated += 1
        note("duplicated: \(name(number)), sequences \(message.sequence) and \(sequence)")
      }
      return
    }
    message.sequence = sequence
    message.life = UInt16(life)
    messages[Int(number)] = message
    counts.delivered += 1
    if message.isAcknowledged { counts.outstanding -= 1 }
    let source = Int(message.source)
    if Int64(message.order) < sources[source].lastArrived {
      counts.outOfOrderByArrival += 1
      note("arrived out of order: \(name(number)), sequence \(sequence)")
    }
    sources[source].lastArrived = max(sources[source].lastArrived, Int64(message.order))
  }

  private mutating func sourceNumber(_ topic: String) -> UInt32 {
    if let number = sourceNumbers[topic] { return number }
    let number = UInt32(sources.count)
    sources.append(Source(topic: topic))
    sourceNumbers[topic] = number
    return number
  }

  /// Lives are few (one per start of the gateway): a linear search from the newest.
  private mutating func lifeNumber(_ id: JournalID, _ epoch: Epoch) -> Int {
    if let number = lives.lastIndex(where: { $0.epoch == epoch && journals[$0.journal].id == id }) {
      return number
    }
    let journal: Int
    if let known = journals.firstIndex(where: { $0.id == id }) {
      journal = known
    } else {
      journal = journals.count
      journals.append(Journal(id: id))
    }
    lives.append(Life(journal: journal, epoch: epoch))
    precondition(lives.count <= Int(UInt16.max), "an audit sees at most 65,535 epochs")
    counts.epochs = UInt64(lives.count)
    return lives.count - 1
  }

  private func name(_ number: UInt32) -> String {
    let message = messages[Int(number)]
    return "\(sources[Int(message.source)].topic) no. \(message.order)"
  }

  private mutating func note(_ text: String) { Self.note(text, in: &samples) }

  private static func note(_ text: String, in samples: inout [String]) {
    if samples.count < sampleCountMax { samples.append(text) }
  }

  /// FNV-1a with a final mix (SplitMix64): no adversary here, only accidents.
  private struct Digest {
    private var state: UInt64 = 0xcbf2_9ce4_8422_2325

    init() {}

    init(_ bytes: Span<UInt8>) {
      for index in bytes.indices { add(bytes[index]) }
    }

    mutating func add(_ byte: UInt8) { state = (state ^ UInt64(byte)) &* 0x100_0000_01b3 }

    var value: UInt64 {
      var mixed = state
      mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
      mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
      return mixed ^ mixed >> 31
    }
  }
}
