import GatewayCore
package import Mosquitto

/// Notices that another client uses our client id, and how long to stay away then. Two such clients
/// throw each other out for ever; the session's messages go to whichever is connected.
///
/// Over MQTT 5 a broker may say so (0x8E). Mosquitto 2.0 does not, and over MQTT 3.1.1 none can: it
/// closes the connection, as it does for other reasons. So the third time in a row that a broker
/// closes a connection which had its subscriptions and lived for less than `briefLife`, and takes
/// us back at once, is taken for it.
///
/// The pause is never below `pauseMin`, so that no two takeovers of ours are closer; it is random,
/// so that the two do not keep step, and grows while it happens again.
///
/// A pure value: no clock.
package struct TakeoverGuard: Sendable {
  package static let pauseMin: Duration = .seconds(30)
  package static let pauseMax: Duration = .seconds(300)
  static let briefLife: Duration = .seconds(300)
  /// A connection that lasts so long ends the matter.
  static let calmLife: Duration = .seconds(600)
  static let suspectAfter = 3

  private var takeovers = 0
  private var briefLives = 0

  package init() {}

  /// A connection has ended, or did not come about.
  /// - Parameter lived: for how long it had its subscriptions; nil when it never had.
  /// - Returns: how long to stay away because somebody else has our session; nil: nobody has.
  package mutating func ended(
    _ error: MosquittoError, lived: Duration?,
    using generator: inout some RandomNumberGenerator
  ) -> Duration? {
    if let lived, lived >= Self.calmLife { (takeovers, briefLives) = (0, 0) }
    guard isTakeover(error, lived: lived) else { return nil }
    takeovers += 1
    var ceiling = Self.pauseMin
    for _ in 0..<takeovers where ceiling < Self.pauseMax {
      ceiling = min(Self.pauseMax, ceiling * 2)
    }
    return .nanoseconds(
      Int64.random(in: Self.pauseMin.nanoseconds...ceiling.nanoseconds, using: &generator))
  }

  package mutating func ended(_ error: MosquittoError, lived: Duration?) -> Duration? {
    var generator = SystemRandomNumberGenerator()
    return ended(error, lived: lived, using: &generator)
  }

  private mutating func isTakeover(_ error: MosquittoError, lived: Duration?) -> Bool {
    if error.reason == .sessionTakenOver { return true }
    guard error.code == .connectionLost, error.reason == nil, let lived, lived < Self.briefLife
    else {
      // A broker that is away, or says why, explains the end before as well.
      briefLives = 0
      return false
    }
    briefLives += 1
    return briefLives >= Self.suspectAfter
  }
}
