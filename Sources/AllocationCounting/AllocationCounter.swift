import CAllocationCounter

/// Counts the heap allocations of the calling thread: ours, Swift's runtime's, the C libraries'.
///
/// For tests and benchmarks of the per-message path. A target that imports this module has the C
/// library's allocator wrapped (about one nanosecond per call); so no product imports it.
package enum AllocationCounter {
  package struct Count: Sendable, Hashable {
    package var allocations: UInt64
    /// What was asked for, not what is in use.
    package var bytes: UInt64
  }

  /// How many allocations `body` makes on this thread.
  package static func measure<Failure: Error>(
    _ body: () throws(Failure) -> Void
  ) throws(Failure) -> Count {
    let before = (penstock_allocation_count(), penstock_allocation_byte_count())
    try body()
    return Count(
      allocations: penstock_allocation_count() - before.0,
      bytes: penstock_allocation_byte_count() - before.1)
  }
}
