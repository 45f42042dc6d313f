// Goal: one event is one line, whatever strangers put into it, in the shape the reader expects.
// Method: golden lines; a real file behind a real Logger for the whole way.

import GatewayCore
import Glibc
import Logging
import Platform
import Testing

@testable import Observability

@Suite("logs")
struct LogTests {
  private let time = WallTime(nanoseconds: 1_795_413_600_123_000_000)

  private func line(
    _ message: String, _ metadata: [(key: String, value: String)] = [],
    level: Logger.Level = .info, style: LogStyle = LogStyle(format: .text)
  ) -> String {
    String(
      decoding: LogLine.bytes(
        level: level, label: "ingest", message: message, metadata: metadata, time: time,
        style: style), as: UTF8.self)
  }

  private func style(
    _ format: LogFormat, journal: Bool = false, terminal: Bool = false, refusesColour: Bool = false
  ) -> LogStyle {
    var surroundings = LogStyle.Surroundings()
    surroundings.isJournal = journal
    surroundings.isTerminal = terminal
    surroundings.refusesColour = refusesColour
    return LogStyle(format: format, surroundings: surroundings)
  }

  @Test("text: time, level, logger, message, pairs; quotes only where needed")
  func text() {
    #expect(
      line("connected", [("broker", "mqtt://127.0.0.1:1883"), ("reason", "a b"), ("empty", "")])
        == "2026-11-23T06:00:00.123Z info  ingest: connected broker=mqtt://127.0.0.1:1883 "
        + "reason=\"a b\" empty=\"\"\n")
    #expect(line("m", level: .warning) == "2026-11-23T06:00:00.123Z warning ingest: m\n")
  }

  @Test("under journald a priority replaces the time, JSON keeps both")
  func journal() {
    let text = style(.text, journal: true)
    #expect(line("m", level: .critical, style: text) == "<2>critical ingest: m\n")
    #expect(line("m", level: .debug, style: text) == "<7>debug ingest: m\n")
    #expect(
      line("m", level: .error, style: style(.json, journal: true))
        == "<3>{\"time\":\"2026-11-23T06:00:00.123Z\",\"level\":\"error\","
        + "\"logger\":\"ingest\",\"message\":\"m\"}\n")
  }

  @Test("JSON: one object per line; keys of ours are not overwritten")
  func json() {
    #expect(
      line("say \"hi\"", [("topic", "a/b\n"), ("level", "x")], style: style(.json))
        == #"{"time":"2026-11-23T06:00:00.123Z","level":"info","logger":"ingest","#
        + #""message":"say \"hi\"","topic":"a/b\n","_level":"x"}"# + "\n")
  }

  @Test("a topic with a newline, escape sequences and direction marks stays one escaped line")
  func injection() {
    let hostile = "a\n2026 fake\u{1b}[31m\u{0}\u{9b}\u{202e}\\ \u{7f}"
    #expect(
      line("received", [("topic", hostile)])
        == "2026-11-23T06:00:00.123Z info  ingest: received "
        + #"topic="a\n2026 fake\u{1b}[31m\u{0}\u{9b}\u{202e}\\ \u{7f}""# + "\n")
    #expect(line("a\nb", [("k k=", "v")]).hasSuffix("ingest: a\\nb k_k_=v\n"))
    for format in LogFormat.allCases {
      let bytes = Array(line(hostile, [(hostile, hostile)], style: style(format)).utf8)
      #expect(bytes.count { $0 < 0x20 } == 1, "the newline at the end and nothing else")
    }
  }

  @Test("a line has a limit, and says so when it was cut", arguments: LogFormat.allCases)
  func limit(format: LogFormat) {
    let worst = String(repeating: "\u{1b}", count: 100_000)
    let metadata = (0..<100).map { (key: "key\($0)", value: worst) }
    let cut = line("m", metadata, style: style(format))
    #expect(cut.utf8.count <= LogLine.byteCountMax)
    #expect(cut.contains("truncated"))
    #expect(format == .text || cut.hasSuffix("\"truncated\":true}\n"))
    #expect(line(worst, style: style(format)).utf8.count <= LogLine.byteCountMax)
    #expect(line(String(repeating: "é", count: 5000)).hasSuffix("éé…\n"))
  }

  @Test("colour only for text on a terminal that does not refuse it")
  func colour() {
    #expect(style(.text, terminal: true).colour)
    #expect(!style(.text).colour)
    #expect(!style(.json, terminal: true).colour)
    #expect(!style(.text, terminal: true, refusesColour: true).colour)
    #expect(line("m", style: style(.text, terminal: true)).contains("\u{1b}[32minfo\u{1b}[0m"))
  }

  @Test("JOURNAL_STREAM counts only if it names the stream we write to")
  func surroundings() throws {
    let directory = try TemporaryDirectory()
    let file = try File.open(directory.path + "/log", flags: O_WRONLY | O_CREAT, mode: 0o600)
    var status = stat()
    try #require(unsafe fstat(file.raw, &status) == 0)
    let ours = "\(status.st_dev):\(status.st_ino)"
    func surroundings(_ variables: [String: String]) -> LogStyle.Surroundings {
      .current(descriptor: file.raw, environment: { variables[$0] })
    }
    #expect(surroundings(["JOURNAL_STREAM": ours]).isJournal)
    #expect(!surroundings(["JOURNAL_STREAM": "1:1"]).isJournal)
    #expect(!surroundings([:]).isJournal)
    #expect(!surroundings([:]).isTerminal)
    #expect(surroundings(["NO_COLOR": "1"]).refusesColour)
    #expect(!surroundings(["NO_COLOR": ""]).refusesColour)
    #expect(surroundings(["TERM": "dumb"]).refusesColour)
  }

  @Test("a Logger writes sorted, merged metadata; a storm is cut and counted")
  func handler() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/log"
    let file = try File.open(path, flags: O_WRONLY | O_CREAT, mode: 0o600)
    let clock = ManualClock()
    let output = LogOutput(descriptor: file.raw, monotonic: clock.monotonic)
    let threshold = LogThreshold(.info)
    var logger = Logger(label: "ingest") { label in
      StandardErrorLogHandler(
        label: label, threshold: threshold, style: LogStyle(format: .text), output: output,
        wall: clock.wall)
    }
    logger[metadataKey: "route"] = "telemetry"
    logger[metadataKey: "b"] = "old"
    logger.info("hello", metadata: ["b": "new", "a": ["x", "y"]])
    logger.debug("not at this level")
    for _ in 0..<LogOutput.linesPerSecondMax + 9 { logger.error("storm") }
    clock.advance(by: .seconds(1))
    logger.info("calm")
    threshold.level = .debug
    logger.debug("at the new level")
    threshold.level = .warning
    logger.info("not at the newest")

    let lines = String(decoding: try File.readSmall(path, byteCountMax: 1 << 20), as: UTF8.self)
      .split(separator: "\n")
    #expect(
      lines[0]
        == "2026-11-23T06:00:00.123Z info  ingest: hello a=\"[\\\"x\\\", \\\"y\\\"]\" b=new "
        + "route=telemetry")
    #expect(lines.count == LogOutput.linesPerSecondMax + 3)
    #expect(
      lines[lines.count - 3]
        == "2026-11-23T06:00:00.123Z warning ingest: log lines were left out count=10")
    #expect(lines[lines.count - 2].contains("calm"))
    #expect(lines[lines.count - 1].contains("at the new level"))
  }
}
