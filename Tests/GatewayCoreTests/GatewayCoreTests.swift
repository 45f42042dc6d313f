// Goal: the small words everything else is built of. Method: known values, and their ends. Cannot
// show: that the chance in a back-off is fair; only its limits are looked at.

import GatewayCore
import Testing

@Suite("Backoff")
struct BackoffTests {
  private struct Fixed: RandomNumberGenerator {
    let value: UInt64
    mutating func next() -> UInt64 { value }
  }

  private static let ceilings: [Duration] = [
    .milliseconds(100), .milliseconds(200), .milliseconds(400), .milliseconds(800), .seconds(1),
    .seconds(1), .seconds(1),
  ]

  @Test("a pause lies between the minimum and a ceiling that doubles up to the maximum")
  func bounds() {
    for _ in 0..<200 {
      var backoff = Backoff(minimum: .milliseconds(100), maximum: .seconds(1))
      for (attempt, ceiling) in Self.ceilings.enumerated() {
        #expect(backoff.attempt == attempt)
        let pause = backoff.next()
        #expect(pause >= .milliseconds(100) && pause <= ceiling)
      }
    }
  }

  @Test("the jitter reaches from the minimum to the ceiling")
  func jitter() {
    var shortest = Backoff(minimum: .milliseconds(100), maximum: .seconds(1))
    var longest = shortest
    // Not 0: the standard library draws again after a 0, which here would never end.
    var (low, high) = (Fixed(value: 1), Fixed(value: .max))
    for ceiling in Self.ceilings {
      #expect(shortest.next(using: &low) == .milliseconds(100))
      #expect(longest.next(using: &high) == ceiling)
    }
  }

  @Test("after a success it begins at the minimum again")
  func reset() {
    var backoff = Backoff(minimum: .milliseconds(100), maximum: .seconds(1))
    for _ in 0..<5 { _ = backoff.next() }
    backoff.succeeded()
    #expect(backoff.attempt == 0)
    #expect(backoff.next() == .milliseconds(100))
  }

  @Test("a spread widens the pauses from the failure that asks for it until the next success")
  func spread() {
    var backoff = Backoff(minimum: .milliseconds(100), maximum: .seconds(1))
    var high = Fixed(value: .max)
    #expect(backoff.next(using: &high) == .milliseconds(100))
    #expect(backoff.next(spread: .seconds(40), using: &high) == .seconds(40))
    #expect(backoff.next(using: &high) == .seconds(40))
    var low = Fixed(value: 1)
    #expect(backoff.next(using: &low) == .milliseconds(100))
    backoff.succeeded()
    #expect(backoff.next(using: &high) == .milliseconds(100))
    // A pause that is longer anyhow stays so.
    for _ in 0..<10 { _ = backoff.next() }
    #expect(backoff.next(spread: .milliseconds(200), using: &high) == .seconds(1))
  }

  @Test("attempts without end neither overflow nor pass the maximum")
  func endless() {
    var backoff = Backoff(minimum: .nanoseconds(1), maximum: .seconds(60))
    for _ in 0..<1000 { #expect(backoff.next() <= .seconds(60)) }
  }
}

@Suite("Sequences")
struct SequenceTests {
  @Test("the first sequence follows none, and nothing comes before none")
  func ends() {
    #expect(Sequence.none.next == .first)
    #expect(Sequence.first.previous == .none)
    #expect(Sequence.none.previous == .none)
    #expect(Sequence.none < .first)
    #expect(Sequence(7).advanced(by: 3) == Sequence(10))
    #expect(Sequence(UInt64.max).description == "18446744073709551615")
  }

  @Test("the count since another sequence is 0 for one that is not behind")
  func count() {
    #expect(Sequence(10).count(since: .none) == 10)
    #expect(Sequence(10).count(since: Sequence(9)) == 1)
    #expect(Sequence(10).count(since: Sequence(10)) == 0)
    #expect(Sequence(10).count(since: Sequence(11)) == 0)
  }

  @Test("a range includes both its ends")
  func range() {
    let range = SequenceRange(Sequence(3), Sequence(5))
    #expect(range.count == 3)
    #expect((1...7).filter { range.contains(Sequence($0)) } == [3, 4, 5])
    #expect(range.description == "3–5")
    #expect(SequenceRange(.first, .first).count == 1)
  }
}

@Suite("Quantities and time")
struct QuantityTests {
  @Test(
    "a number of bytes is written in the largest unit that divides it",
    arguments: [
      (ByteCount(0), "0B"), (ByteCount(1), "1B"), (ByteCount(1000), "1000B"),
      (ByteCount(1025), "1025B"), (.kibibytes(1), "1KiB"), (.kibibytes(256), "256KiB"),
      (.kibibytes(1536), "1536KiB"), (.kibibytes(1024), "1MiB"), (.mebibytes(2048), "2GiB"),
      (.gibibytes(3), "3GiB"),
    ])
  func byteCount(count: ByteCount, text: String) {
    #expect(count.description == text)
  }

  @Test(
    "wall time is RFC 3339 in UTC with milliseconds, also before 1970 and on leap days",
    arguments: [
      (0, "1970-01-01T00:00:00.000Z"),
      (999_999, "1970-01-01T00:00:00.000Z"),
      (-1, "1969-12-31T23:59:59.999Z"),
      (951_782_399_999_000_000, "2000-02-28T23:59:59.999Z"),
      (951_782_400_000_000_000, "2000-02-29T00:00:00.000Z"),
      (1_709_210_096_789_000_000, "2024-02-29T12:34:56.789Z"),
      (1_709_251_200_000_000_000, "2024-03-01T00:00:00.000Z"),
      (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000Z"),
      (1_795_413_600_123_000_000, "2026-11-23T06:00:00.123Z"),
    ] as [(Int64, String)])
  func wallTime(nanoseconds: Int64, text: String) {
    #expect(WallTime(nanoseconds: nanoseconds).description == text)
  }

  @Test("the ends of what wall time holds are dates too")
  func wallTimeEnds() {
    #expect(WallTime(nanoseconds: .max).description == "2262-04-11T23:47:16.854Z")
    #expect(WallTime(nanoseconds: .min).description == "1677-09-21T00:12:43.145Z")
  }

  @Test("durations beyond 292 years are clamped in nanoseconds")
  func durations() {
    #expect(Duration.milliseconds(1500).nanoseconds == 1_500_000_000)
    #expect(Duration.seconds(Int64.max).nanoseconds == .max)
    #expect(Duration.seconds(Int64.min).nanoseconds == .min)
  }
}

@Suite("Identities")
struct IdentityTests {
  @Test("a journal id is printed as a UUID of version 4 and read back")
  func journalID() {
    let id = JournalID(high: 0x0123_4567_89AB_4CDE, low: 0x8F01_2345_6789_ABCD)
    #expect(id.description == "01234567-89ab-4cde-8f01-23456789abcd")
    #expect(JournalID(high: 0, low: 1).description == "00000000-0000-0000-0000-000000000001")
    for _ in 0..<100 {
      let random = JournalID.random()
      let text = Array(random.description)
      #expect(JournalID(random.description) == random)
      #expect(text[14] == "4" && "89ab".contains(text[19]))
    }
  }

  @Test(
    "what is not a UUID is not a journal id",
    arguments: [
      "", "01234567-89ab-4cde-8f01-23456789abc", "01234567-89ab-4cde-8f01-23456789abcde",
      "0123456789ab4cde8f0123456789abcd", "01234567-89ab-4cde-8f01-23456789abcg",
      "0123456-789ab-4cde-8f01-23456789abcd", "01234567_89ab_4cde_8f01_23456789abcd",
      " 1234567-89ab-4cde-8f01-23456789abcd",
    ])
  func noJournalID(text: String) {
    #expect(JournalID(text) == nil)
  }

  @Test("an epoch is printed as 16 digits and read back, and is never 0 by chance")
  func epoch() {
    #expect(Epoch(rawValue: 0x2A).description == "000000000000002a")
    for _ in 0..<100 {
      let random = Epoch.random()
      #expect(Epoch(random.description) == random && random.rawValue != 0)
    }
    #expect(Epoch("ffffffffffffffff")?.rawValue == .max)
  }

  @Test(
    "what is not 16 hexadecimal digits is not an epoch",
    arguments: [
      "", "2a", "000000000000002", "00000000000000002", "000000000000002g", "0x0000000000002a",
      "-00000000000002a",
    ])
  func noEpoch(text: String) {
    #expect(Epoch(text) == nil)
  }
}
