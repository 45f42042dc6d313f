package import Envelope
package import GatewayCore

/// The shape in which records leave.
package enum BatchFormat: String, Sendable, Hashable, CaseIterable {
  /// Many records in one envelope of CloudEvents.
  case cloudEventsBatch = "cloudevents-batch"
  /// Each record its own message, payload untouched, on a mapped topic.
  case raw
}

/// When a batch is closed: at whichever limit comes first.
package struct BatchOptions: Sendable, Hashable {
  package var format: BatchFormat = .cloudEventsBatch
  package var recordCountMax: Int = 500
  /// Of the final packet, after compression.
  package var byteCountMax: ByteCount = .kibibytes(256)
  /// Counted from the commit of the batch's oldest record.
  package var delayMax: Duration = .milliseconds(200)
  package var compression: Compression = .zstd
  /// Of zstd, in `Compression.levels`.
  package var compressionLevel: Int = Compression.levelDefault
  /// Records that expire are kept as dead letters instead of told as a gap, and what leaves carries
  /// a Message Expiry Interval, so that no broker keeps it for longer: the route carries commands.
  /// With `raw` only.
  package var keepsExpired = false

  package static let recordCountLimit = 100_000

  package init() {}
}
