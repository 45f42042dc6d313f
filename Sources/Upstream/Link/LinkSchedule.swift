import GatewayCore

/// Who may hand over the next packet on one link: the sinks that deliver to one broker. A pure
/// value: no clock, no I/O.
///
/// The link is the bottleneck when its bound is used up, or when a member's socket does not take
/// what was handed over. Only then does order matter:
///
/// 1. A member waits while one of a higher priority waits for the same bound, or has bytes that its
///    socket has not taken.
/// 2. Members of one priority share a bound in the order in which they asked.
/// 3. Nobody starves: of the bytes that leave while a lower priority waits, one in
///    `shareDenominator` is kept for it; who has waited longest is next when there is enough for
///    its packet. So the lower priorities together have 5 % of a link that the higher ones fill.
/// 4. A packet that has been let go is never called back: what comes after waits for at most one.
///
/// What a member asks for is remembered until it is let go or withdraws; a claim that is not
/// repeated within `claimLapse` is void, so a member that is busy elsewhere holds up nobody.
struct LinkSchedule: Sendable {
  enum Answer: Equatable, Sendable {
    case go
    /// Ask again then, or when woken; nil: when woken.
    case wait(until: MonotonicTime?, HoldReason)
  }

  private struct Claim {
    let byteCount: Int
    let isLimited: Bool
    let since: MonotonicTime
    let askedAt: MonotonicTime
  }

  private struct Member {
    let priority: Int
    var isBackedUp = false
    var claim: Claim?
    /// Has left; the next who joins gets the number.
    var isGone = false
  }

  /// One byte in so many is for those who would have to wait for ever.
  static let shareDenominator = 20
  /// Longer than the longest turn of a sink's loop.
  static let claimLapse = Duration.seconds(3)

  private var limit: RateLimit?
  private var bucket: TokenBucket?
  private var members: [Member] = []
  /// Bytes let go while somebody of a lower priority waited.
  private var passedByteCount = 0

  init(limit: RateLimit?) {
    self.limit = limit
    bucket = limit.map { TokenBucket($0) }
  }

  /// - Returns: the member's number.
  mutating func join(priority: Int) -> Int {
    if let free = members.firstIndex(where: \.isGone) {
      members[free] = Member(priority: priority)
      return free
    }
    members.append(Member(priority: priority))
    return members.count - 1
  }

  /// The member will not ask again.
  mutating func leave(_ member: Int) {
    withdraw(member)
    members[member].isGone = true
  }

  /// Another bound, or none. Who waits asks again.
  mutating func change(limit: RateLimit?) {
    guard limit != self.limit else { return }
    self.limit = limit
    bucket = limit.map { TokenBucket($0) }
    for index in members.indices { members[index].claim = nil }
  }

  /// The member has no connection, or nothing to send.
  mutating func withdraw(_ member: Int) {
    members[member].claim = nil
    members[member].isBackedUp = false
  }

  /// Whether the member's socket has not taken all that was handed over.
  mutating func report(_ member: Int, isBackedUp: Bool) {
    members[member].isBackedUp = isBackedUp
  }

  /// - Parameter isBacklog: a bound may hold back the backlog alone.
  mutating func ask(
    _ member: Int, byteCount: Int, isBacklog: Bool, now: MonotonicTime
  ) -> Answer {
    for index in members.indices {
      if let claim = members[index].claim, now.since(claim.askedAt) >= Self.claimLapse {
        members[index].claim = nil
      }
    }
    let isLimited = limit.map { $0.scope == .all || isBacklog } ?? false
    members[member].claim = Claim(
      byteCount: byteCount, isLimited: isLimited, since: members[member].claim?.since ?? now,
      askedAt: now)
    let due = due
    if due != member {
      if let due, isLimited, members[due].claim?.isLimited == true {
        return .wait(until: nil, .priority)
      }
      if let other = predecessor(of: member) {
        let isSame = members[other].priority == members[member].priority
        return .wait(until: nil, isSame ? .rateLimit : .priority)
      }
    }
    if isLimited, let limit {
      let cost = limit.cost(ofPacketWith: byteCount)
      let delay = bucket?.delay(of: cost, now: now) ?? .zero
      if delay > .zero { return .wait(until: now + delay, .rateLimit) }
      bucket?.take(cost, now: now)
    }
    members[member].claim = nil
    settle(member, byteCount, wasDue: due == member)
    return .go
  }

  /// Whether some member has a higher priority.
  func hasSuperior(_ member: Int) -> Bool {
    members.contains { !$0.isGone && $0.priority > members[member].priority }
  }

  /// Members that wait and that nobody precedes: whom to wake.
  var next: [Int] {
    let due = due
    return members.indices.filter {
      members[$0].claim != nil && ($0 == due || predecessor(of: $0) == nil)
    }
  }

  // MARK: -

  /// The one who has waited longest behind a higher priority, once its share is there.
  private var due: Int? {
    var longest: (member: Int, claim: Claim)?
    for index in members.indices {
      guard let claim = members[index].claim, isOutranked(index) else { continue }
      if let found = longest, found.claim.since <= claim.since { continue }
      longest = (index, claim)
    }
    guard let longest else { return nil }
    let needed = longest.claim.byteCount * (Self.shareDenominator - 1)
    return passedByteCount >= needed ? longest.member : nil
  }

  private func isOutranked(_ member: Int) -> Bool {
    members.indices.contains {
      members[$0].priority > members[member].priority && competes($0, with: member)
    }
  }

  /// Whether `other` has bytes on the link, or waits for the same bound.
  private func competes(_ other: Int, with member: Int) -> Bool {
    if members[other].isBackedUp { return true }
    guard let claim = members[other].claim, let own = members[member].claim else { return false }
    return claim.isLimited && own.isLimited
  }

  private func predecessor(of member: Int) -> Int? {
    guard let own = members[member].claim else { return nil }
    return members.indices.first { other in
      guard other != member else { return false }
      let (left, right) = (members[other].priority, members[member].priority)
      if left > right { return competes(other, with: member) }
      guard left == right, own.isLimited, let claim = members[other].claim, claim.isLimited else {
        return false
      }
      return claim.since == own.since ? other < member : claim.since < own.since
    }
  }

  /// Counts what left for the share of those who wait, or uses that share up.
  private mutating func settle(_ member: Int, _ byteCount: Int, wasDue: Bool) {
    if wasDue {
      passedByteCount = max(0, passedByteCount - byteCount * (Self.shareDenominator - 1))
      return
    }
    let priority = members[member].priority
    let someoneWaits = members.contains { $0.claim != nil && $0.priority < priority }
    passedByteCount = someoneWaits ? passedByteCount + byteCount : 0
  }
}
