/// How often a simulated disk misbehaves while it runs. Probabilities per call; for what a sync
/// lands, per write.
package struct DiskFaults: Sendable {
  /// A call that moves fewer bytes than it was asked to.
  package var shortCall = 0.0
  /// EINTR before anything moved.
  package var interruption = 0.0
  /// A write that fails; part of it may have been taken.
  package var failingWrite = 0.0
  /// A sync that fails; any part of what it should have made durable is, the rest never will be,
  /// and the pages are clean.
  package var failingSync = 0.0
  /// A write that the disk confirms and forgets, as a whole or one block of it.
  package var lostWrite = 0.0
  /// A write that lands at another aligned place of the file.
  package var misdirectedWrite = 0.0

  package init() {}
}
