// Keyed hashing: which bytes are hashed, for good, because the hashes stand in record headers and
// the window is rebuilt from them. All integers little-endian; the key is `low` then `high`, a
// 128-bit result is `low` then `high`.
//
//   message id    SipHash-2-4-128(key, 0x01, topic length u16, part count u8, one kind per part u8,
//                 topic, id text)
//   conflict      SipHash-2-4-128(key, 0x02, message id hash, payload digest u64)
//   content       SipHash-2-4-128(key, 0x03, topic length u16, topic, payload digest 128 bit)
//   payload       SipHash-2-4-128(payload key, payload), the digest being its low half
//   payload key   SipHash-2-4-128(key, "penstock payload")
//   source        SipHash-2-4-128(source key, topic), the low half; kept nowhere
//   source key    SipHash-2-4-128(key, "penstock source")
//
// The first byte separates the domains, the length the topic from the id, the kinds a number from a
// string. Payloads and sources have keys of their own instead of a first byte, so that they need no
// copy. The kinds are 0x73 `s` string, 0x6e `n` number, 0x75 `u` user property.
//
// SipHash comes from libsodium. With a secret key it is a pseudo-random function: whoever does not
// hold the key can neither aim at another device's id nor crowd one part of the index.

package import GatewayCore

/// Hashes ids and payloads under one journal's key. A value: copy it to where it is needed.
package struct MessageHasher: Sendable {
  private let key: Sodium.Words
  private let payloadKey: Sodium.Words
  private let sourceKey: Sodium.Words

  package init(key: HashKey) {
    self.key = Sodium.Words(low: key.low, high: key.high)
    self.payloadKey = Sodium.sipHash(Array("penstock payload".utf8).span, key: self.key)
    self.sourceKey = Sodium.sipHash(Array("penstock source".utf8).span, key: self.key)
  }

  /// The hash of a message id. Never `.absent`. `scratch` is overwritten; it allocates only until
  /// it has grown to the longest topic and id.
  package func hash(
    scope topic: Span<UInt8>, kind: MessageIDPartKind, id: Span<UInt8>, scratch: inout [UInt8]
  ) -> MessageIDHash {
    MessageIDInput.begin(&scratch, partCount: 1, topicByteCount: topic.count)
    MessageIDInput.setKind(kind, ofPart: 0, in: &scratch)
    scratch.append(topic)
    scratch.append(id)
    return hash(input: scratch.span)
  }

  /// The digest that tells two payloads under one message id apart.
  package func digest(_ payload: Span<UInt8>) -> UInt64 {
    Sodium.sipHash(payload, key: payloadKey).low
  }

  /// Stands for a source topic in memory, as far as a table of thousands needs it. Two of 10,000
  /// sources have the same with a probability below 1 in 100,000,000,000, and nobody without the
  /// key can make it so.
  package func sourceHash(_ topic: Span<UInt8>) -> UInt64 {
    Sodium.sipHash(topic, key: sourceKey).low
  }

  /// Under which hash a payload that conflicts with a known id is itself remembered, so that its
  /// redelivery is a duplicate. Never `.absent`.
  package func conflictHash(of hash: MessageIDHash, digest: UInt64) -> MessageIDHash {
    let input: [25 of UInt8] = .init { index in
      switch index {
      case 0: 0x02
      case 1...8: UInt8(truncatingIfNeeded: hash.low >> UInt64(8 * (index - 1)))
      case 9...16: UInt8(truncatingIfNeeded: hash.high >> UInt64(8 * (index - 9)))
      default: UInt8(truncatingIfNeeded: digest >> UInt64(8 * (index - 17)))
      }
    }
    return self.hash(input: input.span)
  }

  /// The identity of a message that is identified by what it says, and its payload's digest.
  func contentHash(
    scope topic: Span<UInt8>, payload: Span<UInt8>, scratch: inout [UInt8]
  ) -> (hash: MessageIDHash, digest: UInt64) {
    let words = Sodium.sipHash(payload, key: payloadKey)
    scratch.removeAll(keepingCapacity: true)
    scratch.append(0x03)
    scratch.append(littleEndian: UInt64(topic.count), byteCount: 2)
    scratch.append(topic)
    scratch.append(littleEndian: words.low, byteCount: 8)
    scratch.append(littleEndian: words.high, byteCount: 8)
    return (hash(input: scratch.span), words.low)
  }

  /// Hashes an input that begins with its domain byte.
  func hash(input: Span<UInt8>) -> MessageIDHash {
    let words = Sodium.sipHash(input, key: key)
    let hash = MessageIDHash(high: words.high, low: words.low)
    // One in 2^128; any fixed stand-in will do.
    return hash == .absent ? MessageIDHash(high: 0, low: 1) : hash
  }
}

/// Of what kind a part of a message id was: 17 and "17" are two ids.
package enum MessageIDPartKind: UInt8, Sendable {
  case string = 0x73
  case number = 0x6e
  case userProperty = 0x75
}

/// The bytes before the topic in what is hashed for a message id (see the head of this file).
enum MessageIDInput {
  static func begin(_ scratch: inout [UInt8], partCount: Int, topicByteCount: Int) {
    precondition(topicByteCount <= Limits.topicByteCountMax, "MQTT gives a topic's length 16 bits")
    precondition((1...255).contains(partCount), "the number of parts has one byte")
    scratch.removeAll(keepingCapacity: true)
    scratch.append(0x01)
    scratch.append(littleEndian: UInt64(topicByteCount), byteCount: 2)
    scratch.append(UInt8(partCount))
    for _ in 0..<partCount { scratch.append(0) }
  }

  static func setKind(_ kind: MessageIDPartKind, ofPart part: Int, in scratch: inout [UInt8]) {
    scratch[4 + part] = kind.rawValue
  }
}

extension Array where Element == UInt8 {
  fileprivate mutating func append(littleEndian value: UInt64, byteCount: Int) {
    for index in 0..<byteCount { append(UInt8(truncatingIfNeeded: value >> UInt64(8 * index))) }
  }
}
