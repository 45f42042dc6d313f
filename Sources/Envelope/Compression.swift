/// How the bytes of a batch travel.
package enum Compression: String, Sendable, Hashable, CaseIterable {
  case zstd
  case none

  /// Levels of zstd. Above 19 the receiver needs a larger window than it may be willing to give.
  package static let levels = 1...19
  /// The best ratio per microsecond on telemetry batches; the library's own default.
  package static let levelDefault = 3
}
