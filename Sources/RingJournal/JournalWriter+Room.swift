package import GatewayCore

extension JournalWriter {
  package var whenFull: WhenFull { options.whenFull }

  /// The largest commit group, header included.
  package var commitByteCountMax: Int { buffer.count }

  /// Bytes of the data region that are free or already released by the required sinks, in memory. A
  /// group that does not fit before the end of the region costs the rest of it, so `append` may
  /// answer `.ringFull` a little earlier. With `drop-oldest` that is the whole region: `append`
  /// makes room, and nobody may stop reading because records wait for a sink that is away.
  package var freeByteCount: Int {
    if options.whenFull == .dropOldest { return access.layout.dataByteCount }
    return access.layout.dataByteCount - state.usedByteCount(floor: state.requiredFloor)
  }

  /// Everything up to here is acknowledged by all required sinks, or given up: it holds no room
  /// that anybody needs. In memory, as `freeByteCount`.
  package var releasedThrough: Sequence {
    max(Sequence(state.requiredFloor), state.oldestKept.previous)
  }

  /// Size of the data region.
  package var dataByteCount: Int { access.layout.dataByteCount }
}
