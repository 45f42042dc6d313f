// Goal: a replay brings the centre exactly what was asked for, recognisable as a replay and as the
// records it had before, changes nothing in the journal, and can be gone on with wherever it ends.
// Method: the built program on a journal that its writer still holds, and a real broker.

import Audit
import Envelope
import GatewayCore
import Glibc
import Platform
import TestSupport
import Testing

@Suite(
  "journal: replay", .serialized,
  .enabled(if: BrokerProcess.isAvailable, "mosquitto is not installed"))
struct JournalReplayTests {
  private static func central(_ options: BrokerOptions = BrokerOptions()) throws -> BrokerProcess {
    var central = try BrokerProcess(name: "central", options: options)
    try central.start()
    return central
  }

  private static func replay(
    _ sample: SampleJournal, _ broker: borrowing BrokerProcess, _ arguments: [String]
  ) throws -> Command {
    try Command(
      executable: Command.penstock,
      arguments: ["journal", "replay", sample.path, "--broker", "\(broker.endpoint)"] + arguments,
      environment: [:], within: .seconds(60))
  }

  private static func sequences(_ events: [Event]) -> [UInt64] {
    events.map(\.sequence.rawValue)
  }

  @Test("everything comes again as it was, marked, beside a writer and without touching the file")
  func everything() throws {
    let sample = try SampleJournal()
    try sample.fill()
    let before = try File.readSmall(sample.path, byteCountMax: 1 << 25)
    let central = try Self.central()
    let deliveries = try Deliveries(central.endpoint, filter: "again")
    let command = try Self.replay(sample, central, ["--topic", "again", "--from", "1", "--json"])
    #expect(command.code == 0, "\(command.error)")
    #expect(
      command.output.contains(
        #""gap_records":2,"absent_records":0,"accepted_records":5,"accepted_messages":1"#))
    #expect(command.output.contains(#""accepted_through":7,"complete":true"#), "\(command.output)")
    try wait(for: "the envelope") { deliveries.contents.envelopes.count == 1 }
    let envelope = try #require(deliveries.contents.envelopes.first)
    #expect(envelope.header.isReplay)
    #expect(envelope.header.journal.description == sample.id)
    #expect(envelope.header.epoch.description == sample.epoch)
    #expect(Self.sequences(envelope.events) == [1, 2, 3, 6, 7])
    #expect(envelope.events.first?.id == "ND01-1")
    #expect(envelope.events.first?.source == "penstock://gw-1/pumps/ND01/metrics")
    #expect(envelope.gaps.map(\.range) == [SequenceRange(Sequence(4), Sequence(5))])
    #expect(try File.readSmall(sample.path, byteCountMax: 1 << 25) == before)
  }

  @Test("a choice of sources elides what lies between, and begins and ends with what was chosen")
  func chosen() throws {
    let sample = try SampleJournal()
    try sample.fill()
    let central = try Self.central()
    let deliveries = try Deliveries(central.endpoint, filter: "again")
    let arguments = ["--topic", "again", "--source", "pumps/ND01/#", "--since"]
    let command = try Self.replay(sample, central, arguments + ["2026-11-23T06:00:00Z"])
    #expect(command.code == 0, "\(command.error)")
    #expect(command.output.contains("4 records in 1 message accepted"), "\(command.output)")
    let late = try Self.replay(sample, central, arguments + ["2026-11-23T06:01:30Z"])
    #expect(late.code == 0, "\(late.error)")
    try wait(for: "both envelopes") { deliveries.contents.envelopes.count == 2 }
    let envelopes = deliveries.contents.envelopes
    #expect(deliveries.contents.undecodable.isEmpty)
    #expect(Self.sequences(envelopes[0].events) == [1, 3, 6, 7])
    #expect(envelopes[0].elided.map(\.description) == ["2–2", "4–5"])
    #expect(envelopes[1].header.first == Sequence(7) && envelopes[1].header.last == Sequence(7))
  }

  @Test("a rate makes small envelopes and takes its time")
  func rate() throws {
    let sample = try SampleJournal()
    try sample.fill()
    let central = try Self.central()
    let deliveries = try Deliveries(central.endpoint, filter: "again")
    let command = try Self.replay(
      sample, central, ["--topic", "again", "--from", "1", "--rate", "2/s"])
    #expect(command.code == 0, "\(command.error)")
    // Of five records two may go at once, and the third envelope waits two seconds.
    #expect(command.duration >= .seconds(2), "\(command.duration)")
    try wait(for: "the envelopes") { deliveries.contents.envelopes.count == 3 }
    #expect(deliveries.contents.undecodable.isEmpty)
    #expect(Self.sequences(deliveries.events) == [1, 2, 3, 6, 7])
  }

  @Test("raw records keep payload and topic behind the prefix and are marked; gaps are notices")
  func raw() throws {
    let sample = try SampleJournal()
    try sample.fill()
    let central = try Self.central()
    let deliveries = try Deliveries(central.endpoint, filter: "#", isRaw: true)
    let command = try Self.replay(
      sample, central, ["--format", "raw", "--topic", "replay/", "--from", "1"])
    #expect(command.code == 0, "\(command.error)")
    try wait(for: "all messages") { deliveries.contents.raw.count == 6 }
    let raw = deliveries.contents.raw
    #expect(
      raw.map(\.topic) == [
        "replay/pumps/ND01/metrics", "replay/pumps/ND02/metrics", "replay/pumps/ND01/asset",
        "penstock/v1/gw-1/telemetry/gaps", "replay/pumps/ND01/metrics",
        "replay/pumps/ND01/metrics",
      ])
    #expect(raw[0].payload == Array(#"{"flow": 12.5, "ok": [true, {}]}"#.utf8))
    let payload = raw[3].payload
    let notice = try EnvelopeDecoder.decode(payload.span)
    #expect(notice.header.isReplay && notice.gaps.first?.reason == .quota)
  }

  @Test("a raw record arrives with its own properties, its identity and the mark")
  func rawProperties() throws {
    let sample = try SampleJournal()
    try sample.fill()
    let central = try Self.central()
    let output = try TemporaryDirectory(prefix: "penstock-replay")
    let tool = try #require(Environment.executable(named: "mosquitto_sub"))
    var subscriber = try ChildProcess(
      executable: tool,
      arguments: [
        "-V", "5", "-p", "\(central.port)", "-t", "#", "-C", "1", "-W", "30", "-F", "%r %P",
      ], environment: [:], standardOutput: .file(path: output.path + "/line"),
      standardError: .file(path: output.path + "/error"))
    // Until the tool subscribes, the broker says that nobody does.
    try wait(for: "the subscription") {
      try Self.replay(
        sample, central, ["--format", "raw", "--topic", "", "--from", "3", "--to", "3"]
      ).code == 0
    }
    #expect(try subscriber.wait(atMost: .seconds(30)) == .exited(code: 0))
    let line = text(of: output.path + "/line")
    #expect(line.hasPrefix("0 "), "retained, although it is not the newest: \(line)")
    for property in [
      "penstock-id:\(sample.id)-\(sample.epoch)-3", "penstock-journal:\(sample.id)",
      "penstock-epoch:\(sample.epoch)", "penstock-sequence:3", "penstock-replay:true",
    ] { #expect(line.contains(property), "\(line)") }
  }

  @Test("a refusal names the sequence and the reason code, and says where to go on")
  func refusal() throws {
    let sample = try SampleJournal()
    try sample.fill()
    var options = BrokerOptions()
    options.accessControlList = """
      topic readwrite replay/pumps/ND01/#
      topic readwrite penstock/#
      """
    let central = try Self.central(options)
    let deliveries = try Deliveries(central.endpoint, filter: "replay/pumps/ND01/#", isRaw: true)
    let arguments = ["--format", "raw", "--topic", "replay/", "--accept-no-subscriber"]
    let command = try Self.replay(sample, central, arguments + ["--from", "1"])
    #expect(command.code == 69)
    #expect(command.output.contains("last accepted sequence: 1\n"), "\(command.output)")
    #expect(command.error.contains("refuses 2: not authorized (0x87)"), "\(command.error)")
    #expect(command.error.contains("go on with --from 2"), "\(command.error)")
    let rest = try Self.replay(sample, central, arguments + ["--from", "3", "--json"])
    #expect(rest.code == 0, "\(rest.error)")
    #expect(rest.output.contains(#""accepted_records":3"#), "\(rest.output)")
    try wait(for: "all that is allowed") { deliveries.contents.raw.count >= 4 }
  }

  @Test("a broker where nobody listens has not taken it, unless the operator says so")
  func nobody() throws {
    let sample = try SampleJournal()
    try sample.fill()
    let central = try Self.central()
    let command = try Self.replay(sample, central, ["--topic", "void", "--from", "1", "--json"])
    #expect(command.code == 69 && command.error.contains("--accept-no-subscriber"))
    #expect(command.output.contains(#""complete":false"#), "\(command.output)")
    #expect(command.output.contains(#""code":16"#), "\(command.output)")
    let accepted = try Self.replay(
      sample, central, ["--topic", "void", "--from", "1", "--accept-no-subscriber"])
    #expect(accepted.code == 0, "\(accepted.error)")
  }

  @Test("an interrupted replay says where to go on, and from there nothing is missing")
  func interrupted() throws {
    let sample = try SampleJournal()
    for number in 1...200 {
      try sample.append(
        topic: "pumps/ND01/metrics", id: "m-\(number)", payload: #"{"n":\#(number)}"#, flags: .json)
    }
    try sample.commit()
    let central = try Self.central()
    let deliveries = try Deliveries(central.endpoint, filter: "again")
    let output = try TemporaryDirectory(prefix: "penstock-replay")
    var process = try ChildProcess(
      executable: Command.penstock,
      arguments: [
        "journal", "replay", sample.path, "--broker", "\(central.endpoint)", "--topic", "again",
        "--from", "1", "--rate", "10/s",
      ], environment: [:], standardOutput: .file(path: output.path + "/output"),
      standardError: .file(path: output.path + "/error"))
    try wait(for: "the first envelopes") { deliveries.contents.envelopes.count >= 2 }
    #expect(kill(process.id, SIGINT) == 0)
    #expect(try process.wait(atMost: .seconds(20)) == .exited(code: 69))
    let error = text(of: output.path + "/error")
    let place = try #require(error.firstRange(of: "--from "), "\(error)")
    let next = String(error[place.upperBound...].prefix { $0.isNumber })
    #expect(next != "1" && next != "201")
    let rest = try Self.replay(sample, central, ["--topic", "again", "--from", next])
    #expect(rest.code == 0, "\(rest.error)")
    try wait(for: "the rest") {
      deliveries.faults(expecting: (1...200).map { "m-\($0)" }).isEmpty
    }
    let envelopes = deliveries.contents.envelopes
    #expect(envelopes.allSatisfy { $0.header.isReplay })
  }

  @Test("a sink of the configuration lends its broker, topic and site")
  func sink() throws {
    let sample = try SampleJournal()
    try sample.fill()
    let central = try Self.central()
    let directory = try TemporaryDirectory(prefix: "penstock-replay")
    let file = GatewayFile(fieldPort: 1, centralPort: central.port)
    let path = directory.path + "/penstock.yaml"
    try File.replace(
      path, with: Array(file.text(dataDirectory: directory.path, observabilityPort: 1).utf8))
    let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
    let arguments = ["journal", "replay", sample.path, "--config", path, "--from", "7"]
    let command = try Command(
      executable: Command.penstock, arguments: arguments + ["--sink", "central"],
      environment: [:], within: .seconds(30))
    #expect(command.code == 0, "\(command.error)")
    try wait(for: "the envelope") { deliveries.contents.envelopes.count == 1 }
    #expect(deliveries.events.first?.source == "penstock://gw-it/pumps/ND01/metrics")
    let wrong = try Command(
      executable: Command.penstock, arguments: arguments + ["--sink", "moon"], environment: [:],
      within: .seconds(30))
    #expect(wrong.code == 64 && wrong.error.contains("it has: central"), "\(wrong.error)")
    let both = try Self.replay(
      sample, central, ["--config", path, "--sink", "central", "--from", "7"])
    #expect(both.code == 64 && both.error.contains("leave --broker away"), "\(both.error)")
  }

  @Test("a rehearsal connects to nothing; without a broker the real thing ends with 69")
  func rehearsal() throws {
    let sample = try SampleJournal()
    try sample.fill()
    let port = try Loopback.freePort()
    let arguments = [
      "journal", "replay", sample.path, "--broker", "mqtt://127.0.0.1:\(port)", "--topic", "again",
    ]
    func run(_ more: String...) throws -> Command {
      try Command(
        executable: Command.penstock, arguments: arguments + more, environment: [:],
        within: .seconds(30))
    }
    let rehearsal = try run("--from", "2", "--to", "3", "--dry-run")
    #expect(rehearsal.code == 0, "\(rehearsal.error)")
    #expect(rehearsal.output.contains("would publish 2 records in 1 message"), "\(rehearsal)")
    let alone = try run("--from", "2")
    #expect(alone.code == 69 && alone.error.contains("Nothing was accepted"), "\(alone.error)")
    #expect(try run().code == 64)
    #expect(try run("--from", "1", "--sink", "central").code == 64)
    #expect(try run("--from", "1", "--rate", "fast").code == 64)
    #expect(try run("--from", "1", "--format", "raw", "--protocol", "3.1.1").code == 64)
  }
}
