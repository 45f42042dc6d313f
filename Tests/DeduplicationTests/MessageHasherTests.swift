// Goal: the hashes that stand in record headers are what the head of MessageHasher.swift says, for
// good, and no two different messages share an input.
// Method: published reference vectors of SipHash and SHA-256, golden values of the layout, pairs of
// inputs that a careless layout would confuse.
// Cannot show: that SipHash is a pseudo-random function; that is its designers' claim.

import GatewayCore
import Testing

@testable import Deduplication

@Suite("Message hashes")
struct MessageHasherTests {
  // github.com/veorq/SipHash, vectors.h, vectors_sip128: input 00 01 02 … of the length of the
  // index.
  static let vectors: [[UInt8]] = [
    [
      0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02,
      0x93,
    ],
    [
      0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc,
      0x45,
    ],
    [
      0x81, 0x77, 0x22, 0x8d, 0xa4, 0xa4, 0x5d, 0xc7, 0xfc, 0xa3, 0x8b, 0xde, 0xf6, 0x0a, 0xff,
      0xe4,
    ],
  ]

  @Test("SipHash-2-4-128 gives the reference vectors", arguments: 0..<3)
  func siphash(count: Int) {
    let key = Sodium.Words(low: HashKey.reference.low, high: HashKey.reference.high)
    let input = (0..<count).map { UInt8($0) }
    let words = Sodium.sipHash(input.span, key: key)
    let bytes = [words.low, words.high].flatMap { word in
      (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(8 * $0)) }
    }
    #expect(bytes == Self.vectors[count])
  }

  @Test("SHA-256 gives the FIPS 180 vector")
  func sha256() {
    var text: [UInt8] = []
    Sodium.appendSHA256(of: Array("abc".utf8).span, to: &text)
    #expect(
      String(decoding: text, as: UTF8.self)
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  }

  static func hash(
    _ topic: String, _ id: String, _ kind: MessageIDPartKind = .string, key: HashKey = .reference
  ) -> MessageIDHash {
    var scratch: [UInt8] = []
    return MessageHasher(key: key).hash(
      scope: Array(topic.utf8).span, kind: kind, id: Array(id.utf8).span, scratch: &scratch)
  }

  @Test("the input of an id's hash is laid out as documented")
  func layout() {
    let input: [UInt8] = [1, 7, 0, 1, 0x73] + Array("pumps/1".utf8) + Array("17".utf8)
    #expect(Self.hash("pumps/1", "17") == MessageHasher(key: .reference).hash(input: input.span))
  }

  @Test("topic and id are separated: (a, bc) is not (ab, c)")
  func separation() {
    #expect(Self.hash("a", "bc") != Self.hash("ab", "c"))
    #expect(Self.hash("a", "b") != Self.hash("b", "a"))
    #expect(Self.hash("a", "b") == Self.hash("a", "b"))
  }

  @Test("the kind of an id is part of it: 17 is not \"17\"")
  func kinds() {
    let hashes: Set = [
      Self.hash("a", "17", .string), Self.hash("a", "17", .number),
      Self.hash("a", "17", .userProperty),
    ]
    #expect(hashes.count == 3)
  }

  @Test("another key gives other hashes and digests")
  func keyed() {
    let other = HashKey(high: 1, low: 2)
    #expect(Self.hash("a", "b") != Self.hash("a", "b", key: other))
    let payload = Array("{}".utf8)
    #expect(
      MessageHasher(key: .reference).digest(payload.span)
        != MessageHasher(key: other).digest(payload.span))
  }

  @Test("a conflict is remembered under a hash of its own for each payload")
  func conflicts() {
    let hasher = MessageHasher(key: .reference)
    let hash = Self.hash("a", "b")
    let all: Set = [
      hash, hasher.conflictHash(of: hash, digest: 1), hasher.conflictHash(of: hash, digest: 2),
    ]
    #expect(all.count == 3)
    #expect(hasher.conflictHash(of: hash, digest: 1) == hasher.conflictHash(of: hash, digest: 1))
  }

  @Test("an empty payload has a digest")
  func emptyPayload() {
    let hasher = MessageHasher(key: .reference)
    #expect(hasher.digest([UInt8]().span) != hasher.digest([UInt8(0)].span))
  }
}
