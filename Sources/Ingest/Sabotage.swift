/// Ways to break a promise on purpose, so that the safety tests can be seen to notice. Honoured
/// only in builds with the flag PENSTOCK_SABOTAGE (debug builds); a release build knows none of it.
package enum Sabotage: String, Sendable, CaseIterable {
  case none
  /// PUBACKs leave at once and the records are written some time later: the crash tests must find
  /// losses.
  case acknowledgeBeforeCommit = "ack-before-commit"
  /// Nothing is recognised as a duplicate: the audit must find duplicates.
  case noDeduplication = "no-dedup"
  /// Commits do not sync: the power-cut tests must find losses.
  case noSync = "no-sync"

  #if PENSTOCK_SABOTAGE
    /// The environment variable that chooses one.
    package static let variable = "PENSTOCK_TEST_SABOTAGE"
  #endif
}
