import Envelope
package import GatewayCore

/// What is to be read from the ring and sent once more, because the consumer misses it or because
/// it is known to be lost. A pure value: no clock, no I/O.
///
/// ## Promise
/// 1. What holds up the cursor goes first; what was accepted before, marked as a replay, after it.
/// 2. Nothing is sent again within `pause` of the last time, however often the consumer asks.
/// 3. One piece of at most `pieceCountMax` sequences at a time; all lists are bounded.
package struct ResendPlan: Sendable {
  /// Something to be sent now.
  package struct Piece: Sendable, Equatable {
    package let range: SequenceRange
    /// It was accepted before.
    package let isReplay: Bool
  }

  package static let pieceCountMax: UInt64 = 65_536
  private static let recentCountMax = 128

  private let pause: Duration
  /// Known to be lost, whatever the consumer says.
  private var lost: [SequenceRange] = []
  /// As the consumer said last.
  private var missing: [SequenceRange] = []
  private var recent: [(range: SequenceRange, at: MonotonicTime)] = []
  package private(set) var current: Piece?

  package init(pause: Duration) { self.pause = pause }

  package var isEmpty: Bool { lost.isEmpty && missing.isEmpty && current == nil }

  /// The consumer's list, in place of the one before.
  /// - Parameters:
  ///   - held: what the broker has and the consumer has not accepted; the rest beyond the cursor is
  ///     being sent anyhow.
  ///   - cursor: everything up to here was accepted before.
  package mutating func consumerMisses(
    _ ranges: [SequenceRange], held: [SequenceRange], cursor: Sequence
  ) {
    missing.removeAll(keepingCapacity: true)
    for range in ranges {
      if range.first <= cursor {
        missing.append(SequenceRange(range.first, min(range.last, cursor)))
      }
      for run in held where run.first <= range.last && range.first <= run.last {
        missing.append(SequenceRange(max(run.first, range.first), min(run.last, range.last)))
      }
    }
    lost.removeAll { $0.last <= cursor }
  }

  /// Sent once more at once, whether or not that was done just now.
  package mutating func add(_ range: SequenceRange) {
    guard !lost.contains(range), lost.count < AcceptanceMessage.missingCountMax else { return }
    lost.append(range)
  }

  /// The next piece, if one is due; it is `current` until `finished` or `interrupted`.
  package mutating func next(now: MonotonicTime, cursor: Sequence) -> Piece? {
    guard current == nil else { return nil }
    recent.removeAll { now.since($0.at) >= pause }
    while let range = lost.first {
      lost.removeFirst()
      // A part of it may have been accepted after all.
      guard range.last > cursor else { continue }
      let piece = take(SequenceRange(max(range.first, cursor.next), range.last), isReplay: false)
      if piece.range.last < range.last {
        lost.insert(SequenceRange(piece.range.last.next, range.last), at: 0)
      }
      return piece
    }
    var replay: SequenceRange?
    for range in missing {
      guard let due = due(range) else { continue }
      if due.first > cursor { return take(due, isReplay: false) }
      replay = replay ?? SequenceRange(due.first, min(due.last, cursor))
    }
    return replay.map { take($0, isReplay: true) }
  }

  /// When something may become due by the passing of time.
  package var deadline: MonotonicTime? {
    missing.isEmpty ? nil : recent.map { $0.at + pause }.min()
  }

  /// The broker has all of the piece.
  package mutating func finished(now: MonotonicTime) {
    guard let piece = current else { return }
    current = nil
    if let last = recent.last, last.range.last.next == piece.range.first {
      recent[recent.count - 1] = (SequenceRange(last.range.first, piece.range.last), now)
      return
    }
    if recent.count == Self.recentCountMax { recent.removeFirst() }
    recent.append((piece.range, now))
  }

  /// The connection is gone: what the broker has not taken is due again.
  package mutating func interrupted() {
    guard let piece = current else { return }
    current = nil
    if !piece.isReplay { lost.insert(piece.range, at: 0) }
  }

  private mutating func take(_ range: SequenceRange, isReplay: Bool) -> Piece {
    let last = min(range.last, range.first.advanced(by: Self.pieceCountMax - 1))
    let piece = Piece(range: SequenceRange(range.first, last), isReplay: isReplay)
    current = piece
    return piece
  }

  /// The first part of `range` that was not sent just now.
  private func due(_ range: SequenceRange) -> SequenceRange? {
    var first = range.first
    while first <= range.last {
      guard let covering = recent.first(where: { $0.range.contains(first) }) else {
        let next = recent.map(\.range.first).filter { $0 > first }.min()
        return SequenceRange(first, min(range.last, next?.previous ?? range.last))
      }
      first = covering.range.last.next
    }
    return nil
  }
}
