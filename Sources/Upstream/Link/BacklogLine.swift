import GatewayCore

/// Which records are backlog: those that could not leave when they were committed. A pure value.
///
/// A record is backlog when it was committed before the present connection stood, or when it has
/// waited for longer than `age` (once to twice that: the line is drawn from two marks, not from the
/// times of records). So what comes in while a backlog drains in order is backlog too, until the
/// sink has caught up; and where a bound is too low for what comes in, the bound holds.
struct BacklogLine: Sendable {
  private let age: Duration
  /// Everything through here is backlog.
  private var through: Sequence
  private var mark: (at: MonotonicTime, committed: Sequence)?

  /// - Parameter committed: what the journal held when the sink started.
  init(age: Duration, committed: Sequence) {
    self.age = age
    through = committed
  }

  /// A connection stands from now on.
  mutating func connected(committed: Sequence, now: MonotonicTime) {
    through = max(through, committed)
    mark = (now, committed)
  }

  /// What is committed now. Asked for in each turn of the sink's loop: between two calls time does
  /// not pass for the line.
  mutating func observe(committed: Sequence, now: MonotonicTime) {
    if let known = mark {
      guard now.since(known.at) >= age else { return }
      through = max(through, known.committed)
    }
    mark = (now, committed)
  }

  /// Whether what begins with `first` is backlog.
  func contains(_ first: Sequence) -> Bool { first <= through }
}
