import GatewayCore

/// What one connection of the simulator still owes: every send stays here until its PUBACK, and
/// comes first, in its old order, on the next connection. Pure.
struct SimulationOutbox {
  struct Message: Sendable {
    let topic: String
    let id: String
    let payload: [UInt8]
  }

  enum Kind: Sendable {
    case event
    /// An event sent once more on purpose; its PUBACK is not counted as the event's.
    case again
    case confirmation
  }

  struct Send: Sendable {
    let message: Message
    let kind: Kind
    /// Position among all sends: the order to keep when they must be sent again.
    fileprivate let ordinal: UInt64
  }

  /// The next send is the last element.
  private var waiting: [Send] = []
  private var inFlight: [Int32: Send] = [:]
  private var ordinal: UInt64 = 0
  /// The newest new messages; a ring once it is full.
  private var recent: [Message] = []
  private var recentEnd = 0
  private let recentMax: Int

  init(recentMax: Int) {
    self.recentMax = recentMax
    recent.reserveCapacity(recentMax)
  }

  var isEmpty: Bool { waiting.isEmpty && inFlight.isEmpty }
  var hasWaiting: Bool { !waiting.isEmpty }
  var inFlightCount: Int { inFlight.count }
  var count: Int { waiting.count + inFlight.count }

  /// A new message; nothing may be waiting before it.
  mutating func add(_ message: Message) {
    if recent.count < recentMax { recent.append(message) } else { recent[recentEnd] = message }
    recentEnd = recentEnd + 1 == recentMax ? 0 : recentEnd + 1
    enqueue(message, .event)
  }

  /// What a pump answers; nothing may be waiting before it. Never sent again on purpose.
  mutating func add(confirmation: Message) { enqueue(confirmation, .confirmation) }

  /// The new message before the last `back`, once more.
  mutating func addAgain(back: Int) {
    precondition((1...recent.count).contains(back), "only what was sent can be sent again")
    var index = recentEnd - back
    if index < 0 { index += recent.count }
    enqueue(recent[index], .again)
  }

  private mutating func enqueue(_ message: Message, _ kind: Kind) {
    precondition(waiting.isEmpty, "sends are made one by one, each after the one before it")
    ordinal += 1
    waiting.append(Send(message: message, kind: kind, ordinal: ordinal))
  }

  /// What is to be sent next.
  var next: Send? { waiting.last }

  /// `next` is on its way under this mid.
  mutating func published(mid: Int32) {
    guard let send = waiting.popLast() else { return }
    inFlight[mid] = send
  }

  /// `next` cannot be sent at all.
  mutating func dropNext() { waiting.removeLast() }

  /// The PUBACK of `mid` came; nil when nothing was sent under it.
  mutating func acknowledged(mid: Int32) -> Send? { inFlight.removeValue(forKey: mid) }

  /// Everything in flight must be sent again. How many sends that are.
  mutating func connectionLost() -> Int {
    let lost = inFlight.count
    waiting.append(contentsOf: inFlight.values)
    inFlight.removeAll(keepingCapacity: true)
    waiting.sort { $0.ordinal > $1.ordinal }
    return lost
  }
}
