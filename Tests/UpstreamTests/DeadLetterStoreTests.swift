// Goal: what the centre refuses for good is on disk beside the journal, whole, with the reason, and
// survives restarts; a full file loses its oldest only. Method: real files. Cannot show: that the
// sink calls the store (IntegrationTests do).

import GatewayCore
import Mosquitto
import Platform
import RingJournal
import Testing

@testable import Upstream

@Suite("Dead letters")
struct DeadLetterStoreTests {
  private static let topic = Array("pumps/ND01/metrics".utf8)

  /// What was stored: one record as the file gives it back.
  struct Letter: Equatable {
    var sequence: UInt64
    var reason: DeadLetterReason?
    var topic: [UInt8]
    var id: [UInt8]
    var properties: String
    var payload: [UInt8]
  }

  /// A data directory with the journal of a route, and its record reader.
  private struct Site: ~Copyable {
    let directory: TemporaryDirectory
    let environment: JournalEnvironment
    var journal: OpenedJournal

    static func make() throws -> Site {
      let directory = try TemporaryDirectory(prefix: "penstock-dead")
      var environment = JournalEnvironment.posix
      environment.allowsUnsafeFilesystem = true
      var options = JournalOptions(
        gatewayID: "gw", routeName: "telemetry", sinks: [JournalSink(name: "central")])
      options.capacity = .mebibytes(16)
      let journal = try Journal.open(
        path: "\(directory.path)/telemetry.journal", options: options, environment: environment)
      try File.replace("\(directory.path)/telemetry.subscriptions", with: [1])
      return Site(directory: directory, environment: environment, journal: journal)
    }

    var path: String { "\(directory.path)/telemetry.dead" }

    func store() -> DeadLetterStore {
      DeadLetterStore(
        path: path, gatewayID: "gw", routeName: "telemetry", capacity: .mebibytes(16),
        environment: environment)
    }

    /// Journals one record and gives it to `body` as a sink would read it.
    mutating func record(
      _ payload: [UInt8], properties: [UInt8] = [], idText: MessageIDText = .absent,
      _ body: (JournalRecord, Span<UInt8>) throws -> Void
    ) throws {
      let draft = RecordDraft(
        flags: .json, idHash: MessageIDHash(high: 1, low: 2), payloadDigest: 3, idText: idText,
        receivedMonotonic: Clock.monotonic())
      let id = Array("id-17".utf8)
      guard
        case .appended(let sequence) = try journal.writer.append(
          draft, topic: DeadLetterStoreTests.topic.span, idText: id.span,
          properties: properties.span, payload: payload.span)
      else { throw SystemError("append", code: 28) }
      _ = try journal.writer.commit()
      var failure: (any Error)?
      var reader = try journal.state.makeReader(sink: 0)
      reader.seek(to: sequence)
      _ = try reader.read { record, bytes in
        do { try body(record, bytes) } catch { failure = error }
        return true
      }
      if let failure { throw failure }
      journal.state.acknowledge(0, through: sequence)
    }

    func letters() throws -> (letters: [Letter], wasCleanStop: Bool) {
      var options = JournalOptions(
        gatewayID: "gw", routeName: "telemetry",
        sinks: [JournalSink(name: "operator", required: false)])
      options.capacity = .mebibytes(16)
      var letters: [Letter] = []
      func keep(_ record: JournalRecord, _ bytes: Span<UInt8>) {
        func copy(_ range: Range<Int>) -> [UInt8] {
          range.map { bytes[$0] }
        }
        letters.append(
          Letter(
            sequence: record.sequence.rawValue, reason: record.reason, topic: copy(record.topic),
            id: copy(record.idTextBytes),
            properties: String(decoding: copy(record.properties), as: UTF8.self),
            payload: copy(record.payload)))
      }
      let opened = try Journal.open(
        path: path, options: options, environment: environment, recovered: keep)
      return (letters, opened.report.wasCleanStop)
    }
  }

  @Test("a dead letter keeps topic, payload, id and properties, and says whence and why")
  func kept() throws {
    var site = try Site.make()
    var properties: [UInt8] = []
    let (name, value) = (Array("unit".utf8), Array("bar".utf8))
    MQTTPropertyWriter.appendUserProperty(name: name.span, value: value.span, to: &properties)
    let payload = Array(#"{"id":"id-17"}"#.utf8)
    do {
      let store = site.store()
      try site.record(payload, properties: properties, idText: .stored) { record, bytes in
        try store.store(
          record, bytes, journal: JournalID(high: 7, low: 8), sink: "central",
          cause: .refused(.payloadFormatInvalid))
      }
      try store.close()
    }
    let (letters, wasCleanStop) = try site.letters()
    #expect(wasCleanStop)
    let letter = try #require(letters.first)
    #expect(letters.count == 1)
    #expect(letter.reason == .refused)
    #expect(letter.topic == DeadLetterStoreTests.topic)
    #expect(letter.id == Array("id-17".utf8))
    #expect(letter.payload == payload)
    #expect(letter.properties.hasPrefix(String(decoding: properties, as: UTF8.self)))
    for part in [
      "penstock-sink", "central", "penstock-journal", "penstock-epoch", "penstock-sequence",
      "penstock-received",
      "penstock-reason", ReasonCode.payloadFormatInvalid.description,
    ] { #expect(letter.properties.contains(part), "\(part)") }
    #expect(!letter.properties.contains("penstock-cut"))
  }

  @Test("dead letters of two sinks survive a stop, and a crash, and later ones follow them")
  func reopened() throws {
    var site = try Site.make()
    for (index, sink) in ["central", "backup", "central"].enumerated() {
      let store = site.store()
      try site.record([UInt8(index)]) { record, bytes in
        try store.store(
          record, bytes, journal: JournalID(high: 7, low: 8), sink: "other",
          cause: .refused(.quotaExceeded))
        try store.store(
          record, bytes, journal: JournalID(high: 7, low: 8), sink: sink,
          cause: .refused(.quotaExceeded))
      }
      // The second time nobody closes it.
      if index != 1 { try store.close() }
      if index == 2 {
        try site.record([9]) { record, bytes in
          try store.store(
            record, bytes, journal: JournalID(high: 7, low: 8), sink: "after",
            cause: .refused(.quotaExceeded))
        }
      }
    }
    let (letters, wasCleanStop) = try site.letters()
    #expect(!wasCleanStop)
    #expect(letters.map(\.payload) == [[0], [0], [1], [1], [2], [2], [9]])
    #expect(letters.map(\.sequence) == Array(1...7))
    #expect(letters.last?.properties.contains("after") == true)
  }

  @Test("a file full of dead letters drops its oldest, and only those")
  func full() throws {
    var site = try Site.make()
    let count = 80
    var overwritten: UInt64 = 0
    do {
      let store = site.store()
      for index in 0..<count {
        let payload = [UInt8](repeating: UInt8(index), count: 200 << 10)
        try site.record(payload) { record, bytes in
          overwritten += try store.store(
            record, bytes, journal: JournalID(high: 7, low: 8), sink: "central",
            cause: .refused(.packetTooLarge))
        }
      }
      try store.close()
    }
    // What is gone is told: to the sink that stored, and in the file.
    let statistics = try JournalInspector.statistics(
      path: site.path, environment: site.environment)
    #expect(statistics.lostRecords == [.deadLetterFull: overwritten])
    let (letters, _) = try site.letters()
    #expect(UInt64(letters.count) >= UInt64(count) - overwritten && overwritten > 0)
    // 8 MiB of data hold 41 of them at most; one turn leaves at least half.
    #expect((20...41).contains(letters.count))
    #expect(letters.last?.sequence == UInt64(count))
    for letter in letters {
      #expect(letter.payload.count == 200 << 10)
      #expect(letter.payload.allSatisfy { UInt64($0) + 1 == letter.sequence })
    }
    let first = try #require(letters.first).sequence
    #expect(letters.map(\.sequence) == Array(first...UInt64(count)))
  }

  @Test("what does not fit is cut and says so, rather than stopping the sink")
  func cut() throws {
    var site = try Site.make()
    let store = site.store()
    let most = site.journal.writer.recordByteCountMax - DeadLetterStoreTests.topic.count
    let filler = [UInt8](repeating: 1, count: 65_000)
    // The id stands at the end, which is what goes.
    let payload =
      [UInt8](repeating: 0x20, count: most - filler.count - 5) + Array("id-18".utf8)
    let id = MessageIDText.payload(offset: payload.count - 5, count: 5)
    try site.record(payload, properties: filler, idText: id) { record, bytes in
      try store.store(
        record, bytes, journal: JournalID(high: 7, low: 8), sink: "central",
        cause: .refused(.packetTooLarge))
    }
    try store.close()
    let letter = try #require(try site.letters().letters.first)
    #expect(letter.properties.contains("penstock-cut-properties"))
    #expect(letter.properties.contains("65000"))
    #expect(letter.id == Array("id-18".utf8))
    #expect(letter.payload.count > 900 << 10)

    let longer = [UInt8](repeating: 0x20, count: most - 5) + Array("id-19".utf8)
    let atEnd = MessageIDText.payload(offset: longer.count - 5, count: 5)
    let again = site.store()
    try site.record(longer, idText: atEnd) { record, bytes in
      try again.store(
        record, bytes, journal: JournalID(high: 7, low: 8), sink: "central",
        cause: .refused(.packetTooLarge))
    }
    try again.close()
    let second = try #require(try site.letters().letters.last)
    #expect(second.properties.contains("penstock-cut-payload"))
    #expect(second.properties.contains(String(longer.count)))
    #expect(second.id == Array("id-19".utf8))
    #expect(second.payload.count < longer.count)
    #expect(second.payload.count > longer.count - 8192)
  }

  @Test("a foreign file beside the journal does not keep dead letters from being stored")
  func foreignFile() throws {
    var site = try Site.make()
    try File.replace("\(site.directory.path)/notes.txt", with: [1])
    let store = site.store()
    try site.record([1]) { record, bytes in
      try store.store(
        record, bytes, journal: JournalID(high: 7, low: 8), sink: "central",
        cause: .refused(.quotaExceeded))
    }
    try store.close()
    #expect(try site.letters().letters.count == 1)
  }
}
