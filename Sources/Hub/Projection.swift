import GatewayCore

/// States made anew from events: what `rebuild` and `--as-of` do, by the fold of the live path.
package enum Projection {
  /// What a rebuild came to.
  package struct Comparison: Sendable {
    package var position: UInt64
    /// Events folded in.
    package var eventCount: UInt64
    /// Where it began: 0, or the position of a snapshot.
    package var start: UInt64
    package var before: StateHash
    package var after: StateHash
    /// Assets that differ in more than times.
    package var differences: [String]
    package var rebuilt: AssetBook

    package var isEqual: Bool { before == after && differences.isEmpty }
  }

  /// The state at a position.
  /// - Parameters:
  ///   - position: at most the last one, at least the baseline's.
  ///   - usesSnapshots: begin at the newest snapshot at or before it, not at the baseline.
  ///   - progress: hears of the position now and then.
  package static func book(
    at position: UInt64, of store: some HubStore, usesSnapshots: Bool = true,
    progress: (UInt64) -> Void = { _ in }
  ) throws -> (book: AssetBook, start: UInt64, eventCount: UInt64) {
    var book = AssetBook()
    let state = try store.load()
    for inbox in state.inboxes {
      book.setRank(
        AssetBook.Rank(channel: inbox.key.channel, rank: inbox.rank), ofInbox: inbox.number)
    }
    var start: UInt64 = 0
    let baseline = try store.retention().baseline
    guard position >= baseline else {
      throw HubStoreError(
        .unavailable, "readings before position \(baseline) are gone; the state is known from there"
      )
    }
    // Without snapshots still from the baseline: before it the readings are gone.
    if let snapshot = try store.snapshot(before: usesSnapshots ? position : baseline) {
      start = snapshot.position
      for asset in snapshot.assets { book.restore(asset) }
    }
    // Numbers are the store's and no matter of events.
    for asset in state.assets where book.index(of: asset.id) == nil {
      book.restore(AssetState(number: asset.number, id: asset.id))
    }
    var count: UInt64 = 0
    try store.forEachEvent(EventQuery(after: start, through: position)) { event in
      book.apply(event)
      count += 1
      if count % 50_000 == 0 { progress(event.position) }
    }
    return (book, start, count)
  }

  /// Makes all state anew and compares it with what the store has. Nobody may write meanwhile, or
  /// the two are of different positions.
  package static func compare(
    _ store: some HubStore, usesSnapshots: Bool, progress: (UInt64) -> Void = { _ in }
  ) throws -> Comparison {
    let state = try store.load()
    var stored = AssetBook()
    for asset in state.assets { stored.restore(asset) }
    let (book, start, count) = try book(
      at: state.position, of: store, usesSnapshots: usesSnapshots, progress: progress)
    var rebuilt = AssetBook()
    for asset in book.assets where asset.version > 0 { rebuilt.restore(asset) }
    return Comparison(
      position: state.position, eventCount: count, start: start, before: stored.hash,
      after: rebuilt.hash, differences: rebuilt.differences(from: stored), rebuilt: rebuilt)
  }

  /// As `compare`, and what was made anew takes the place of what was there.
  package static func rebuild(
    _ store: some HubStore, usesSnapshots: Bool, progress: (UInt64) -> Void = { _ in }
  ) throws -> Comparison {
    let comparison = try compare(store, usesSnapshots: usesSnapshots, progress: progress)
    try store.replaceAssets(comparison.rebuilt.assets, at: comparison.position)
    return comparison
  }
}
