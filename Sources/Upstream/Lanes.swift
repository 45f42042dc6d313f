import Batching
import GatewayCore

/// One stream of batches: where it reads, and what it has out.
struct Lane: ~Copyable {
  /// Nil until it is first needed: a batcher has a reader, whose buffer holds the largest commit.
  var batcher: Batcher?
  var window: DeliveryWindow<Batch>
  /// Everything through here has been sent at least once: what is sent again is counted.
  var sentThrough: Sequence
  /// What the window has given for accepted, from where the lane began; what the journal is told
  /// waits for dead letters, too.
  var acceptedThrough: Sequence
}

/// The streams of one sink. They share its connection and what may be outstanding there.
struct Lanes: ~Copyable {
  enum Name: CaseIterable {
    /// From the cursor on, in order.
    case main
    /// What is new, while the main one works off a backlog (`drain: live-first`).
    case live
    /// Single ranges once more, because the consumer misses them (`accept: hub`).
    case resend
  }

  /// Batches of a resend in flight: enough to fill a line, few enough to leave it to the others.
  static let resendInFlightMax = 4

  private let inFlightMax: Int
  var main: Lane
  var live: Lane
  var resend: Lane

  init(
    main batcher: consuming Batcher, cursor: Sequence, options: SinkOptions, backoff: Backoff
  ) {
    func window(_ slotCountMax: Int, _ acceptance: Acceptance) -> DeliveryWindow<Batch> {
      DeliveryWindow(
        slotCountMax: slotCountMax, acceptance: acceptance,
        acceptsNoSubscriber: options.acceptsNoSubscriber, unacceptedMax: options.unacceptedMax,
        answerTimeout: options.answerTimeout, backoff: backoff, lightened: \.withoutBytes)
    }
    inFlightMax = options.inFlightMax
    main = Lane(
      batcher: batcher, window: window(options.inFlightMax, options.acceptance),
      sentThrough: cursor, acceptedThrough: cursor)
    live = Lane(
      batcher: nil, window: window(options.inFlightMax, .broker), sentThrough: cursor,
      acceptedThrough: cursor)
    let resendMax = min(options.inFlightMax, Lanes.resendInFlightMax)
    resend = Lane(
      batcher: nil, window: window(resendMax, .broker), sentThrough: cursor,
      acceptedThrough: cursor)
  }

  subscript(name: Name) -> Lane {
    _read {
      switch name {
      case .main: yield main
      case .live: yield live
      case .resend: yield resend
      }
    }
    _modify {
      switch name {
      case .main: yield &main
      case .live: yield &live
      case .resend: yield &resend
      }
    }
  }

  /// What is new and the backlog share what may be in flight, so that neither waits for the other.
  mutating func share() {
    main.window.slotCountMax = max(1, inFlightMax / 2)
    live.window.slotCountMax = max(1, inFlightMax - inFlightMax / 2)
  }

  /// The backlog is worked off: the live lane, with what it has out, is the main one from now on.
  mutating func merge() {
    swap(&main, &live)
    main.batcher?.setBeside(false)
    live.batcher?.setBeside(true)
    main.window.slotCountMax = inFlightMax
  }

  /// There is one lane again.
  mutating func unshare() { main.window.slotCountMax = inFlightMax }

  var outstandingCount: Int {
    main.window.outstandingCount + live.window.outstandingCount + resend.window.outstandingCount
  }

  /// What has this mid, in whichever of them.
  func item(sentAs mid: Int32) -> Batch? {
    main.window.item(sentAs: mid) ?? live.window.item(sentAs: mid)
      ?? resend.window.item(sentAs: mid)
  }

  /// When the first of them must be asked again even if nothing arrives.
  var answerDeadline: MonotonicTime? {
    [main.window.answerDeadline, live.window.answerDeadline, resend.window.answerDeadline]
      .compactMap { $0 }.min()
  }

  /// The lane whose batch is the largest that has no answer.
  var largestOutstanding: Name? {
    let sizes: [(Name, Int?)] = [
      (.main, main.window.largestOutstanding), (.live, live.window.largestOutstanding),
      (.resend, resend.window.largestOutstanding),
    ]
    return sizes.filter { $0.1 != nil }.max { ($0.1 ?? 0) < ($1.1 ?? 0) }?.0
  }

  mutating func progressed(at now: MonotonicTime) {
    for name in Name.allCases { self[name].window.progressed(at: now) }
  }
}
