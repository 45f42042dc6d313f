/// How the bytes of a batch travel.
package enum Compression: String, Sendable, Hashable, CaseIterable {
  case zstd
  case none

  /// Levels of zstd. Above 19 the receiver needs a larger window than it may be willing to give.
  package static let levels = 1...19
  /// Telemetry in batches of 20 to 500 gets as small as at 3, the library's own default, in a fifth
  /// less time.
  package static let levelDefault = 1
}
