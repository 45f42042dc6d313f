import Platform

/// What must be added to a boot's monotonic time to get the wall clock, for each boot of which a
/// synchronised moment is known. With it the receive time of a record that came before the first
/// synchronisation of its boot is corrected. The first synchronised moment of a boot counts: it is
/// the nearest to those records, and a later step of the clock is not theirs.
struct BootClocks: Sendable, Equatable {
  /// More boots than this are not remembered; the oldest goes.
  static let countMax = 64

  private struct Entry: Sendable, Equatable {
    var boot: BootID
    /// Number of the group that told it.
    var number: UInt64
    var offset: Int64
  }

  private var entries: [Entry] = []

  init() {}

  /// The wall clock was synchronised when the group `number` took its times.
  mutating func note(_ boot: BootID, number: UInt64, wall: Int64, monotonic: Int64) {
    guard boot != .unknown else { return }
    let entry = Entry(boot: boot, number: number, offset: wall &- monotonic)
    if let place = entries.firstIndex(where: { $0.boot == boot }) {
      if number < entries[place].number { entries[place] = entry }
      return
    }
    entries.append(entry)
    guard entries.count > BootClocks.countMax,
      let oldest = entries.indices.min(by: { entries[$0].number < entries[$1].number })
    else { return }
    entries.remove(at: oldest)
  }

  /// Nil: no synchronised moment of that boot is known.
  func offset(of boot: BootID) -> Int64? { entries.first { $0.boot == boot }?.offset }
}

extension BootClocks {
  mutating func note(_ group: GroupHeader) {
    guard group.isClockSynchronised else { return }
    note(
      group.bootID, number: group.number, wall: group.wallBase, monotonic: group.monotonicBase)
  }
}
