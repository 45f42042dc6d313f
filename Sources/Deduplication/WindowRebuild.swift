package import GatewayCore

/// Fills a window when the journal is opened. There the ids come as fast as the disk gives them, a
/// ring holds several times as many as the window, and each belongs to another place of an index
/// that no cache holds. So they only pass through the window's ring of entries, in order, and the
/// index is made once, of those that are left. The result is the same as of inserting one by one.
///
/// One owner, one thread. No allocation beyond the window's own.
package struct WindowRebuild: ~Copyable {
  private var window: DeduplicationWindow

  package init(_ window: consuming DeduplicationWindow) {
    precondition(window.count == 0, "a rebuild begins with an empty window")
    self.window = window
  }

  /// As `DeduplicationWindow.insert`, in order of sequence.
  package mutating func insert(
    _ hash: MessageIDHash, digest: UInt64, at time: MonotonicTime = MonotonicTime(nanoseconds: 0)
  ) {
    if hash.high == 0 && hash.low == 0 { return }
    window.insertUnindexed(hash, digest: digest, at: time)
  }

  /// The window with all that was inserted.
  package consuming func finish() -> DeduplicationWindow {
    window.index()
    return window
  }
}
