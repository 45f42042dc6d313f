// Goal: the log's messages are read as the server writes them, and the slot never passes what has
// not left. Method: messages made by hand byte by byte, every truncation, random orders of events
// against a plain model. Cannot show: that a server writes so; LogSourceTests use a real one.

import GatewayCore
import PumpTelemetry
import Testing

@testable import Hub

@Suite("log codec") struct LogCodecTests {
  private func text(_ text: String) -> [UInt8] { Array(text.utf8) + [0] }

  private func big(_ value: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt64(8 * (count - 1 - $0))) }
  }

  private func value(_ bytes: [UInt8]) -> [UInt8] {
    [UInt8(ascii: "b")] + big(UInt64(bytes.count), 4) + bytes
  }

  private var relation: [UInt8] {
    var bytes = [UInt8(ascii: "R")] + big(77, 4) + text("penstock_hub") + text("outbox")
    bytes += [UInt8(ascii: "d")] + big(6, 2)
    for name in LogDecoder.columns { bytes += [0] + text(name) + big(20, 4) + big(0xffff_ffff, 4) }
    return bytes
  }

  private func insert(_ number: UInt64, expiry: [UInt8] = [UInt8(ascii: "n")]) -> [UInt8] {
    var bytes = [UInt8(ascii: "I")] + big(77, 4) + [UInt8(ascii: "N")] + big(6, 2)
    bytes += value(big(number, 8)) + value(Array("a/b".utf8)) + value(Array("ND01".utf8))
    bytes += value([0, 255, 1]) + expiry + value(big(99, 8))
    return bytes
  }

  @Test("a row comes out as it was put in")
  func row() throws {
    var decoder = LogDecoder()
    #expect(try decoder.take((big(66, 1) + big(0, 20))[...]) == .nothing)
    // Of a table that was not told of.
    #expect(try decoder.take(insert(7)[...]) == .nothing)
    #expect(try decoder.take(relation[...]) == .nothing)
    let row = OutboxRow(
      number: 7, topic: "a/b", key: "ND01", payload: [0, 255, 1], expiry: nil,
      time: WallTime(nanoseconds: 99))
    #expect(try decoder.take(insert(7)[...]) == .row(row))
    var expiring = row
    expiring.expiry = 60
    #expect(try decoder.take(insert(7, expiry: value(big(60, 8)))[...]) == .row(expiring))
    let commit = [UInt8(ascii: "C"), 0] + big(100, 8) + big(120, 8) + big(0, 8)
    #expect(try decoder.take(commit[...]) == .committed(LogPosition(120)))
  }

  @Test("envelopes of the copy, both ways")
  func copy() throws {
    let data = [UInt8(ascii: "w")] + big(1, 8) + big(2, 8) + big(3, 8) + [1, 2, 3]
    #expect(try LogMessage(data) == .data([1, 2, 3]))
    let alive = [UInt8(ascii: "k")] + big(130, 8) + big(0, 8) + [1]
    #expect(try LogMessage(alive) == .keepalive(end: LogPosition(130), wantsReply: true))
    let update = LogMessage.statusUpdate(LogPosition(5), microseconds: 6)
    #expect(
      update == [UInt8(ascii: "r")] + big(5, 8) + big(5, 8) + big(5, 8) + big(6, 8) + [0])
    #expect("\(LogPosition(0x16_B374_D848))" == "16/B374D848")
  }

  @Test("nothing that is cut short or of another kind is taken, and nothing is read beyond the end")
  func broken() throws {
    for whole in [relation, insert(7), insert(7, expiry: value(big(60, 8)))] {
      for count in 0..<whole.count {
        #expect(throws: LogFormatError.self) { _ = try LogChange(whole.prefix(count)) }
      }
    }
    #expect(throws: LogFormatError.self) { _ = try LogMessage([]) }
    #expect(throws: LogFormatError.self) { _ = try LogMessage([UInt8(ascii: "x")]) }
    #expect(throws: LogFormatError.self) { _ = try LogChange([UInt8(ascii: "x")]) }
    var decoder = LogDecoder()
    var foreign = [UInt8(ascii: "R")] + big(77, 4) + text("s") + text("outbox")
    foreign += [UInt8(ascii: "d")] + big(1, 2) + [0] + text("id") + big(20, 4) + big(0, 4)
    #expect(throws: LogFormatError.self) { _ = try decoder.take(foreign[...]) }
  }

  @Test("the example of the type")
  func example() {
    var progress = LogProgress(start: LogPosition(0))
    progress.received(7)
    progress.received(8)
    progress.committed(LogPosition(100))
    progress.received(9)
    progress.committed(LogPosition(120))
    progress.idle(LogPosition(130))
    #expect(progress.confirmed == LogPosition(0))
    progress.left(through: 7)
    #expect(progress.confirmed == LogPosition(0))
    progress.left(through: 8)
    #expect(progress.confirmed == LogPosition(100))
    progress.left(through: 9)
    #expect(progress.confirmed == LogPosition(120))
    progress.idle(LogPosition(130))
    #expect(progress.confirmed == LogPosition(130))
  }

  @Test("at no time is a transaction passed whose messages have not all left", arguments: 0..<200)
  func model(seed: UInt64) {
    var generator = SplitMix64(seed: seed, stream: 0)
    var progress = LogProgress(start: LogPosition(0))
    var ends: [(last: UInt64, end: UInt64)] = []
    var (number, left, end) = (UInt64(0), UInt64(0), UInt64(0))
    var isInside = false
    for _ in 0..<200 {
      end += UInt64.random(in: 1...9, using: &generator)
      switch Int.random(in: 0..<5, using: &generator) {
      case 0, 1:
        number += 1
        isInside = true
        progress.received(number)
      case 2:
        isInside = false
        ends.append((number, end))
        progress.committed(LogPosition(end))
      case 3 where left < number:
        left = UInt64.random(in: left...number, using: &generator)
        progress.left(through: left)
      default: progress.idle(LogPosition(end))
      }
      let confirmed = progress.confirmed.rawValue
      for one in ends where one.last > left { #expect(confirmed < one.end) }
      if isInside, number > left { #expect(confirmed < end) }
    }
    progress.committed(LogPosition(end + 1))
    progress.left(through: number)
    #expect(progress.confirmed == LogPosition(end + 1))
  }
}
