/// Ways to break a promise on purpose, so that the safety tests can be seen to notice. Honoured
/// only in builds with the flag PENSTOCK_SABOTAGE (debug builds); a release build knows none of it.
package enum HubSabotage: String, Sendable, CaseIterable {
  case none
  /// PUBACKs leave at once and the transaction comes some time later: the kill tests must find
  /// losses.
  case acknowledgeBeforeCommit = "ack-before-commit"
  /// Neither positions nor identities are looked at: the tests must find events applied twice.
  case noInbox = "no-inbox"
  /// The relay forgets rows when they are handed to the connection: the kill tests must find
  /// events that never came out.
  case markBeforePublish = "mark-before-publish"

  #if PENSTOCK_SABOTAGE
    /// The environment variable that chooses one.
    package static let variable = "PENSTOCK_TEST_HUB_SABOTAGE"
  #endif
}
