import GatewayCore
import Synchronization

/// How an observer keeps up with a writer that knows nothing of it: the writer's next group can
/// only be in a few places, and each carries a number that grows with every write.
extension JournalObserver {
  /// Learns what was committed since the last look. Cheap when that is nothing.
  /// - Returns: whether there is news.
  package mutating func follow() throws(JournalError) -> Bool {
    if learn() { return true }
    guard let now = try? ControlBlocks.read(file, path: path, environment: environment),
      let superblock = now.superblock
    else { return false }
    if superblock.generation != view.blocks.superblock?.generation { isLive = true }
    adoptCursors(superblock)
    guard superblock.nextSequence > committed.rawValue + 1 else { return false }
    // Committed since the look at its place, or written far from where we look for it.
    if learn() { return true }
    try reload()
    return true
  }

  /// Adds the groups that were written behind the newest known one.
  mutating func learn() -> Bool {
    var hasNews = false
    while let next = successor() {
      adopt(next)
      hasNews = true
    }
    if hasNews { isLive = true }
    return hasNews
  }

  /// Newer copies of a tail whose records are missing from the picture: the tail moved between its
  /// two blocks while the scan passed.
  mutating func heal() {
    for (position, entry) in view.plan.kept.enumerated() {
      guard
        let hole = view.plan.corrupt.firstIndex(where: {
          $0.sequences.first.rawValue == entry.last + 1
        })
      else { continue }
      for offset in places(of: entry) {
        guard let header = probe.group(at: offset), header.first == entry.first,
          header.number > entry.number,
          header.last >= view.plan.corrupt[hole].sequences.last.rawValue
        else { continue }
        isLive = true
        view.plan.kept[position] = GroupEntry(header)
        view.plan.corrupt.remove(at: hole)
        break
      }
    }
    let index = GroupIndex(view.plan.kept, countMax: view.state.access.layout.dataBlockCount)
    view.state.index.withLock { $0 = index }
  }

  /// Where a newer copy of a group, or the group after it, may be.
  private func places(of entry: GroupEntry) -> [Int] {
    [entry.offset, entry.end, entry.offset - Block.byteCount]
  }

  private mutating func successor() -> GroupHeader? {
    let (newest, layout) = (view.state.index.withLock { $0.last }, view.state.access.layout)
    let offsets = (newest.map { places(of: $0) } ?? []) + [layout.dataStart]
    var best: GroupHeader?
    for offset in offsets {
      guard let header = probe.group(at: offset), header.number > newest?.number ?? 0,
        header.first == newest?.first || header.first == committed.rawValue + 1,
        header.last > committed.rawValue || header.first == newest?.first
      else { continue }
      if best.map({ header.number < $0.number }) ?? true { best = header }
    }
    return best
  }

  private mutating func adopt(_ header: GroupHeader) {
    let (state, entry) = (view.state, GroupEntry(header))
    let released = state.index.withLock { index -> UInt64 in
      var released: UInt64 = 0
      if let newest = index.last {
        while let oldest = index.first, index.count > 1,
          JournalObserver.isOverwritten(oldest, from: newest, to: entry)
        {
          released = oldest.last
          index.removeFirst()
        }
      }
      if index.last?.first == entry.first {
        index.replaceLast(with: entry)
      } else {
        index.append(entry)
      }
      return released
    }
    if released > 0 { state.publish(oldestKept: released + 1) }
    state.publish(oldestKept: header.oldestKept)
    state.publish(committed: header.last, head: entry.end)
    for sink in state.sinks {
      for place in 0..<header.sinkCount
      where header.sinkNameChecksums[place] == sink.nameChecksum {
        sink.acknowledged.max(header.acknowledged[place], ordering: .relaxed)
      }
    }
  }

  /// Whether the writer has passed over `oldest` on its way from one group to a later one: what it
  /// wrote between the two we need not have seen.
  private static func isOverwritten(
    _ oldest: GroupEntry, from newest: GroupEntry, to entry: GroupEntry
  ) -> Bool {
    if entry.offset + Block.byteCount < newest.offset {
      // Round the end of the ring.
      return oldest.end > newest.offset || oldest.offset < entry.end
    }
    return oldest.offset < max(entry.end, newest.end)
      && oldest.end > min(entry.offset, newest.offset)
  }

  private mutating func adoptCursors(_ superblock: Superblock) {
    for known in superblock.sinks {
      view.state.sinks.first { $0.name == known.name }?
        .acknowledged.max(min(known.acknowledged, committed.rawValue), ordering: .relaxed)
    }
  }
}
