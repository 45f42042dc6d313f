package import GatewayCore

/// Fills a window when the journal is opened. There the ids come as fast as the disk gives them,
/// and each belongs to another place of an index that no cache holds: one at a time, the processor
/// would wait for memory at every id. Here a few dozen are gathered, and the places of all of them
/// are fetched together before they are inserted. The result is the same.
///
/// One owner, one thread. No allocation beyond the window's own.
package struct WindowRebuild: ~Copyable {
  private var window: DeduplicationWindow
  private var hashes: [32 of MessageIDHash] = .init(repeating: .absent)
  private var digests: [32 of UInt64] = .init(repeating: 0)
  private var times: [32 of MonotonicTime] = .init(repeating: MonotonicTime(nanoseconds: 0))
  private var count = 0

  package init(_ window: consuming DeduplicationWindow) { self.window = window }

  /// As `DeduplicationWindow.insert`, in order of sequence.
  package mutating func insert(
    _ hash: MessageIDHash, digest: UInt64, at time: MonotonicTime = MonotonicTime(nanoseconds: 0)
  ) {
    if hash.high == 0 && hash.low == 0 { return }
    hashes[count] = hash
    digests[count] = digest
    times[count] = time
    count += 1
    if count == hashes.count { flush() }
  }

  /// The window with all that was inserted.
  package consuming func finish() -> DeduplicationWindow {
    flush()
    return window
  }

  private mutating func flush() {
    window.fetch(hashes.span.extracting(0..<count))
    for index in 0..<count {
      window.insert(hashes[index], digest: digests[index], at: times[index])
    }
    count = 0
  }
}
