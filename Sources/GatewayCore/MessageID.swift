/// The keyed 128-bit hash of (source topic, producer's message id). Two records with the same hash
/// in one journal are one message. SipHash-2-4-128 with the journal's secret key, so that nobody
/// who does not hold the key can make one device's id collide with another's.
package struct MessageIDHash: Hashable, Sendable {
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// What a record without a message id carries. No real id hashes to it (the hasher sees to that).
  package static let absent = MessageIDHash(high: 0, low: 0)
}

/// The secret under which a journal hashes ids and payloads. Written once when the journal is
/// created; never logged, never leaves the file.
package struct HashKey: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible {
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  package static func random(_ next: () -> UInt64) -> HashKey {
    HashKey(high: next(), low: next())
  }

  package var description: String { "HashKey(secret)" }
  package var debugDescription: String { description }
}

/// Where the text of a message id is to be found.
package enum MessageIDText: Hashable, Sendable {
  /// The record has no message id.
  case absent
  /// The id's bytes stand in the payload as they are: `offset ..< offset + count`.
  case payload(offset: Int, count: Int)
  /// The id's bytes are stored on their own, in UTF-8.
  case stored

  /// Longer ids are replaced by the hexadecimal digest of themselves.
  package static let byteCountMax = 255
}
