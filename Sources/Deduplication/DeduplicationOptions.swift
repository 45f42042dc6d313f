package import GatewayCore

/// Where the producer's message id stands.
package enum MessageIDSelector: Sendable, Hashable {
  /// One or several JSON pointers (RFC 6901) into the payload; several are joined by `|`.
  case json(pointers: [String])
  /// The first MQTT 5 user property of this name.
  case userProperty(name: String)
  /// Topic and payload as a whole, within a bounded time: equal readings are legal later.
  case content(within: Duration)
  /// No deduplication for this route.
  case none
}

/// A message without the id that the selector asks for.
package enum MissingIDPolicy: String, Sendable, Hashable, CaseIterable {
  case journal
  case deadLetter = "dead-letter"
}

/// A message with a known id and another payload.
package enum ConflictPolicy: String, Sendable, Hashable, CaseIterable {
  case deadLetter = "dead-letter"
  case drop
  case accept
}

/// Deduplication of one route.
package struct DeduplicationOptions: Sendable, Hashable {
  package var selector: MessageIDSelector
  package var missingID: MissingIDPolicy = .journal
  package var onConflict: ConflictPolicy = .deadLetter
  /// Ids remembered; nil takes the smaller of 1,000,000 and ring bytes / 320.
  package var window: Int?

  package static let windowMax = 100_000_000
  package static let windowDefaultMax = 1_000_000
  package static let ringBytesPerID = 320

  package init(selector: MessageIDSelector) { self.selector = selector }

  /// The window in force for a ring of this size.
  package func window(ringCapacity: ByteCount) -> Int {
    window ?? min(Self.windowDefaultMax, max(1, ringCapacity.rawValue / Self.ringBytesPerID))
  }
}

extension DeduplicationOptions {
  /// How long content identifies a message; nil for real ids, which do not age.
  package var contentWithin: Duration? {
    if case .content(let within) = selector { within } else { nil }
  }
}
