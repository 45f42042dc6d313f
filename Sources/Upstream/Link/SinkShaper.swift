import Batching
import CoreMetrics
import GatewayCore
import Mosquitto
import Platform

/// Why something that is ready to leave has to wait.
enum HoldReason: String, CaseIterable {
  /// A bound, the sink's own or the link's, is used up.
  case rateLimit = "rate-limit"
  /// The link is full and a higher priority goes first.
  case priority
  /// On a link with an order: the socket has not taken what was handed over before.
  case socket
  /// The account of the data budget is being written, or the budget is spent.
  case dataBudget = "data-budget"
}

/// Decides when the next packet of one sink may leave, and whether the sink may be connected at
/// all. One thread: the sink's.
///
/// What waits is not lost and not in memory: the sink holds the one batch it wants to send, the
/// rest stays in the journal.
struct SinkShaper: ~Copyable {
  private let limit: RateLimit?
  private let version: ProtocolVersion
  private let link: BrokerLink
  private let member: BrokerLink.Member
  private let metrics: UpstreamMetrics
  private var bucket: TokenBucket?
  private var backlog: BacklogLine
  /// What waits, since it was last asked about.
  private var held: (at: MonotonicTime, reason: HoldReason)?
  private var queue = Queue.taken
  private var traffic = Traffic()
  private var closure: LinkClosure?
  private var closureLookedAt: MonotonicTime?
  private var leavingSince: MonotonicTime?

  /// What was handed over and is not with the socket yet.
  private enum Queue {
    case taken
    /// Handed over in this turn of the loop, which has not written yet.
    case fresh
    /// The socket did not take it.
    case backedUp
  }

  /// What this connection has been charged with, and what it has carried.
  private struct Traffic {
    var charged = 0
    /// From its beginning, or from when the link got a budget.
    var isCounted = false
    /// The kernel holds back little of this connection.
    var isOrderly = false
    /// Where others go first.
    var allowance: SendAllowance?
  }

  /// How long a live record may take besides its batch's delay, how often the wall clock is looked
  /// at: one turn of the sink's loop.
  private static let turn = Duration.seconds(1)
  /// How soon a link that was full is looked at again when nothing else brings the loop round.
  private static let queueLook = Duration.milliseconds(50)
  /// How long a sink that has to leave waits for answers to what it has sent.
  private static let leaveLimit = Duration.seconds(10)
  /// On a link with an order: what the kernel may hold back besides what is on its way.
  private static let unsentByteCountMax = 16 << 10
  /// An attempt to connect that comes to nothing: SYN and its repetitions, RST, DNS.
  private static let attemptByteCount = 1024

  /// - Parameter committed: what the journal holds when the sink starts.
  init(
    options: SinkOptions, link: BrokerLink, committed: Sequence, wakeUp: WakeUp,
    metrics: UpstreamMetrics
  ) {
    limit = options.rateLimit
    version = options.connection.protocolVersion
    self.link = link
    member = link.join(
      priority: options.priority, isUrgent: options.isUrgent, wakeUp: wakeUp)
    self.metrics = metrics
    bucket = options.rateLimit.map { TokenBucket($0) }
    let batchDelay = options.batch.format == .raw ? .zero : options.batch.delayMax
    backlog = BacklogLine(age: batchDelay + Self.turn, committed: committed)
  }

  deinit { link.leave(member) }

  private var handsOverOneByOne: Bool { link.isOrdered || link.isMetered }

  // MARK: Connections

  /// Why the sink has to stay disconnected now; nil: it may connect. Looks at the clock once a
  /// turn.
  mutating func closure(now: MonotonicTime) -> LinkClosure? {
    if let lookedAt = closureLookedAt, now.since(lookedAt) < Self.turn { return closure }
    closureLookedAt = now
    closure = link.closure(for: member)
    return closure
  }

  /// Whether the connection has to end now, with as little as possible to be sent again.
  mutating func mustLeave(outstandingCount: Int, now: MonotonicTime) -> Bool {
    guard closure(now: now) != nil else {
      leavingSince = nil
      return false
    }
    let since = leavingSince ?? now
    leavingSince = since
    return outstandingCount == 0 || now.since(since) >= Self.leaveLimit
  }

  /// An attempt to connect begins.
  mutating func connecting() {
    traffic = Traffic()
    leavingSince = nil
    guard link.isMetered else { return }
    traffic.isCounted = true
    charge(Self.attemptByteCount)
  }

  /// A connection is accepted.
  mutating func connected(socket: Int32?, committed: Sequence, now: MonotonicTime) {
    backlog.connected(committed: committed, now: now)
    if let socket, handsOverOneByOne { makeOrderly(socket) }
  }

  private mutating func makeOrderly(_ socket: Int32) {
    SocketQueue.limitUnsent(of: socket, to: Self.unsentByteCountMax)
    traffic.isOrderly = true
  }

  /// A turn of the loop has written what the socket takes.
  mutating func turned(
    socket: Int32?, wantsWrite: Bool, committed: Sequence, now: MonotonicTime
  ) {
    backlog.observe(committed: committed, now: now)
    guard handsOverOneByOne else { return }
    // A reload may give the link an order while a connection stands.
    if let socket, !traffic.isOrderly { makeOrderly(socket) }
    // A small packet fits into the kernel's queue; that does not mean that the link has room.
    let isBackedUp =
      wantsWrite
      || link.isOrdered && socket.map { SocketQueue.waitingByteCount(of: $0) > 0 } ?? false
    if isBackedUp != (queue == .backedUp), link.isOrdered {
      link.report(member, isBackedUp: isBackedUp)
    }
    queue = isBackedUp ? .backedUp : .taken
    if let socket, link.isOrdered { leaveRoom(on: socket, isUsedUp: isBackedUp, now: now) }
    guard link.isMetered, let socket, let carried = SocketTraffic.wireByteCount(of: socket)
    else { return }
    if !traffic.isCounted {
      traffic.isCounted = true
      traffic.charged = carried
    }
    // What was handed over is charged before it is seen on the socket.
    if carried > traffic.charged { charge(carried - traffic.charged) }
  }

  /// Keeps the link's queue short for those who go first.
  private mutating func leaveRoom(on socket: Int32, isUsedUp: Bool, now: MonotonicTime) {
    let before = traffic.allowance?.byteCount
    if link.hasSuperior(member) {
      var allowance = traffic.allowance ?? SendAllowance()
      guard before == nil || allowance.isDue(now: now) else { return }
      if let (roundTrip, shortest) = SocketQueue.roundTrip(of: socket) {
        allowance.look(roundTrip: roundTrip, shortest: shortest, isUsedUp: isUsedUp, now: now)
      }
      traffic.allowance = allowance
    } else {
      // A reload may have taken away what there was to go first.
      traffic.allowance?.lift()
    }
    guard let allowance = traffic.allowance?.byteCount, allowance != before else { return }
    SocketQueue.limitUnderWay(of: socket, to: allowance)
    metrics.sendAllowance.record(allowance)
  }

  private mutating func charge(_ byteCount: Int) {
    traffic.charged += byteCount
    link.use(byteCount)
  }

  /// A connection has ended: nothing waits for the link any more.
  mutating func disconnected(now: MonotonicTime) {
    note(nil, now: now)
    queue = .taken
    link.withdraw(member)
  }

  // MARK: Packets

  /// Asks for one packet.
  /// - Returns: nil when it may leave now, and is counted; else when to ask again.
  mutating func hold(
    _ batch: Batch, topic: String, committed: Sequence, now: MonotonicTime
  ) -> MonotonicTime? {
    if closure(now: now) != nil {
      // About to leave: answers are awaited, nothing new is sent.
      note(nil, now: now)
      return now + Self.turn
    }
    let byteCount = PublishPacket.byteCount(of: batch, topic: topic, version: version)
    backlog.observe(committed: committed, now: now)
    let isBacklog = backlog.contains(batch.range.first)
    let (until, reason) = ask(byteCount, isBacklog: isBacklog, now: now)
    note(reason, now: now)
    return until
  }

  private mutating func ask(
    _ byteCount: Int, isBacklog: Bool, now: MonotonicTime
  ) -> (MonotonicTime?, HoldReason?) {
    if handsOverOneByOne {
      switch queue {
      case .taken: break
      case .fresh: return (now, .socket)
      case .backedUp: return (now + Self.queueLook, .socket)
      }
    }
    var own: Int?
    if let limit, limit.scope == .all || isBacklog {
      let cost = limit.cost(ofPacketWith: byteCount)
      let delay = bucket?.delay(of: cost, now: now) ?? .zero
      if delay > .zero { return (now + delay, .rateLimit) }
      own = cost
    }
    if handsOverOneByOne {
      switch link.ask(member, byteCount: byteCount, isBacklog: isBacklog, now: now) {
      case .wait(let until, let reason): return (until ?? now + Self.turn, reason)
      case .go:
        queue = .fresh
        traffic.charged += byteCount
      }
    }
    if let own { bucket?.take(own, now: now) }
    return (nil, nil)
  }

  private mutating func note(_ reason: HoldReason?, now: MonotonicTime) {
    if let held { metrics.held(held.reason, for: now.since(held.at)) }
    held = reason.map { (now, $0) }
  }
}
