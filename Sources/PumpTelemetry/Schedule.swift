import GatewayCore

/// Which pump sends when, and which messages are sent again on purpose. Pure: times are counted
/// from the start of the run, the caller reads the clock.
///
/// Every pump announces itself once (when asked to), then the pumps measure. Those without a rate
/// of their own take turns; a turn is a slot of the schedule's rate, which passes empty when its
/// pump has got a rate of its own or has fallen silent, so that the others keep theirs. A step that
/// is late is due at once; no step is left out.
package struct Schedule: Sendable {
  package enum Step: Hashable, Sendable {
    case event(PumpEventKind, pump: Int)
    /// Send once more, byte by byte, the new message before the last `back` (1 is the last one).
    case again(back: Int)
  }

  /// How far back a repeated send reaches.
  package static let repeatReachMax = 1000

  /// One of the pumps that the schedule drives.
  private struct Member: Sendable {
    let pump: Int
    /// Nanoseconds from reading to reading; nil: takes turns.
    var ownInterval: Double?
    /// Which of the entries in `queue` is the pump's.
    var stamp: UInt32 = 0
    var isAnnounced = false
    /// Readings still to be made.
    var left: UInt64

    var takesTurns: Bool { ownInterval == nil && left > 0 }
  }

  /// The next reading of a member with a rate of its own.
  private struct Entry: Sendable {
    let due: Double
    let member: Int
    let stamp: UInt32
  }

  private var members: [Member]
  private let interval: Double
  private let repeatShare: Double
  private var generator: SplitMix64
  private var freshCount = 0
  /// Slots that have passed, empty ones too.
  private var slotCount = 0
  /// Turns that have passed; the first round announces.
  private var turn = 0
  private var announcesLeft: Int
  private var turnTakerCount: Int
  private var repeatsLast = false
  private var queue = DueQueue()

  /// - Parameters:
  ///   - pumps: those of the fleet that this schedule drives; not empty, none twice.
  ///   - rate: steps per second of the pumps that take turns, and of repeats; nil for "as fast as
  ///     it goes".
  ///   - repeatShare: 0 ... 1, of the new messages that are followed by a repeated send.
  ///   - announces: a new-asset event of each pump comes first.
  ///   - plans: by place in `pumps`: what they say of rate and count; nil: none says anything.
  package init(
    pumps: [Int], rate: Double?, repeatShare: Double = 0, announces: Bool = false, seed: UInt64,
    plans: [PumpPlan]? = nil
  ) {
    precondition(!pumps.isEmpty, "a schedule drives a pump")
    precondition((0...1).contains(repeatShare), "the command bounds the share of repeats")
    if let rate { precondition(rate > 0, "the command bounds the rate") }
    members = pumps.indices.map { place in
      Member(
        pump: pumps[place], ownInterval: plans?[place].rate.map { 1e9 / $0 },
        left: plans?[place].count ?? .max)
    }
    interval = rate.map { 1e9 / $0 } ?? 0
    self.repeatShare = repeatShare
    announcesLeft = announces ? pumps.count : 0
    turnTakerCount = members.count(where: \.takesTurns)
    generator = SplitMix64(seed: seed, stream: .max)
    if !announces {
      for place in members.indices { enter(place, after: 0, part: place) }
      skipEmptyTurns()
    }
  }

  /// When the next step is due, after the start; nil when there is none any more.
  package var nextDue: Duration? {
    if repeatsLast { return .nanoseconds(Int64(slotDue)) }
    let turnDue: Double? = hasTurn ? slotDue : nil
    guard let due = [turnDue, queue.first?.due].compactMap(\.self).min() else { return nil }
    return .nanoseconds(Int64(due))
  }

  private var slotDue: Double { Double(slotCount) * interval }

  private var hasTurn: Bool { announcesLeft > 0 || turnTakerCount > 0 }

  /// Goes on by one step; there must be one.
  /// - Parameter elapsed: now. Only pumps with a rate of their own beside others that go as fast as
  ///   they can need it: they come as soon as they are due.
  package mutating func next(at elapsed: Duration = .zero) -> Step {
    if repeatsLast {
      repeatsLast = false
      slotCount += 1
      let reach = min(freshCount, Schedule.repeatReachMax)
      return .again(back: Int.random(in: 1...reach, using: &generator))
    }
    freshCount += 1
    repeatsLast = repeatShare > 0 && generator.unit() < repeatShare
    if let entry = queue.first, isFirst(entry.due, elapsed) {
      queue.removeFirst()
      return measure(entry)
    }
    precondition(hasTurn, "a schedule without a due time has no next step")
    let place = turn % members.count
    turn += 1
    let due = slotDue
    slotCount += 1
    if announcesLeft > 0 {
      announcesLeft -= 1
      enter(place, after: due, part: members.count)
      if announcesLeft == 0 { skipEmptyTurns() }
      return .event(.asset, pump: members[place].pump)
    }
    members[place].left -= 1
    if members[place].left == 0 { turnTakerCount -= 1 }
    skipEmptyTurns()
    return .event(.metrics, pump: members[place].pump)
  }

  /// Whether a reading that is due then comes before the next turn.
  private func isFirst(_ due: Double, _ elapsed: Duration) -> Bool {
    if !hasTurn { return true }
    return interval == 0 ? due <= Double(elapsed.nanoseconds) : due < slotDue
  }

  private mutating func measure(_ entry: Entry) -> Step {
    let place = entry.member
    members[place].left -= 1
    if let own = members[place].ownInterval, members[place].left > 0 {
      queue.insert(Entry(due: entry.due + own, member: place, stamp: entry.stamp))
    }
    dropStale()
    return .event(.metrics, pump: members[place].pump)
  }

  /// From now on the member may measure. `part` of all members: where in its interval it begins.
  private mutating func enter(_ place: Int, after due: Double, part: Int) {
    members[place].isAnnounced = true
    guard let own = members[place].ownInterval, members[place].left > 0 else { return }
    queue.insert(
      Entry(
        due: due + own * Double(part) / Double(members.count), member: place,
        stamp: members[place].stamp))
  }

  private mutating func skipEmptyTurns() {
    guard announcesLeft == 0, turnTakerCount > 0 else { return }
    while !members[turn % members.count].takesTurns {
      turn += 1
      slotCount += 1
    }
  }

  /// Gives a pump a rate of its own, in readings per second; nothing happens to a pump that the
  /// schedule does not drive.
  package mutating func setRate(_ rate: Double, ofPump pump: Int, at elapsed: Duration) {
    guard let place = members.firstIndex(where: { $0.pump == pump }) else { return }
    let wasTurnTaker = members[place].takesTurns
    members[place].ownInterval = 1e9 / rate
    members[place].stamp &+= 1
    if wasTurnTaker { turnTakerCount -= 1 }
    dropStale()
    if members[place].isAnnounced {
      enter(place, after: Double(elapsed.nanoseconds), part: members.count)
    }
    skipEmptyTurns()
  }

  /// The head of the queue is always an entry in force.
  private mutating func dropStale() {
    while let entry = queue.first, entry.stamp != members[entry.member].stamp {
      queue.removeFirst()
    }
  }

  /// A heap by due time, then by member.
  private struct DueQueue: Sendable {
    private var entries: [Entry] = []

    var first: Entry? { entries.first }

    mutating func insert(_ entry: Entry) {
      entries.append(entry)
      var child = entries.count - 1
      while child > 0, Self.precedes(entries[child], entries[(child - 1) / 2]) {
        entries.swapAt(child, (child - 1) / 2)
        child = (child - 1) / 2
      }
    }

    mutating func removeFirst() {
      guard let last = entries.popLast(), !entries.isEmpty else { return }
      entries[0] = last
      var parent = 0
      while true {
        var least = parent
        for child in [2 * parent + 1, 2 * parent + 2]
        where child < entries.count && Self.precedes(entries[child], entries[least]) {
          least = child
        }
        if least == parent { return }
        entries.swapAt(parent, least)
        parent = least
      }
    }

    private static func precedes(_ left: Entry, _ right: Entry) -> Bool {
      (left.due, left.member) < (right.due, right.member)
    }
  }
}
