// Goal: `penstock top` draws the running gateway on a terminal, follows it over a restart, ends
// when told to and leaves the terminal as it was; without a terminal it prints one picture. Method:
// the real binary on a pseudo terminal. Cannot show: what a terminal makes of the escape sequences.

import Audit
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("penstock top")
  struct TopTests {
    private static let home = "\u{1b}[H"
    private static let hideCursor = "\u{1b}[?25l"
    private static let showCursor = "\u{1b}[?25h"

    /// As a terminal ends them.
    private static func lines(of picture: String) -> [Substring] {
      picture.split(separator: "\r\n", omittingEmptySubsequences: false)
    }

    /// `penstock top` on a terminal of its own.
    private final class Top {
      let terminal: PseudoTerminal
      private var process: ChildProcess

      init(_ agent: TestAgent, columns: UInt16 = 120, rows: UInt16 = 30) throws {
        terminal = try PseudoTerminal(columns: columns, rows: rows)
        process = try ChildProcess(
          executable: Command.penstock, arguments: ["top", "--config", agent.configurationPath],
          environment: [:], standardInput: terminal.path,
          standardOutput: .file(path: terminal.path), standardError: .file(path: terminal.path))
      }

      /// The pictures so far, without their escape sequences.
      var pictures: [String] {
        terminal.look()
        return terminal.screen.split(separator: TopTests.home, omittingEmptySubsequences: false)
          .dropFirst().map {
            String($0).replacing("\u{1b}[K", with: "").replacing("\u{1b}[J", with: "")
          }
      }

      /// - Returns: the picture that fulfils the condition.
      @discardableResult
      func wait(for what: String, until condition: (String) -> Bool) throws -> String {
        var found: String?
        try IntegrationTests.wait(for: "\(what) on the screen") {
          found = pictures.last(where: condition)
          return found != nil
        }
        return try #require(found)
      }

      func end() throws -> ChildProcess.ExitStatus? {
        let status = try process.wait(atMost: .seconds(10))
        terminal.look()
        return status
      }

      func send(signal: Int32) { process.send(signal: signal) }
    }

    @Test("it draws what comes and goes, over a restart of the agent; q ends it")
    func watches() throws {
      let stage = try OperatorStage()
      let agent = stage.agent
      let top = try Top(agent)
      try top.wait(for: "the gateway") { $0.hasPrefix("penstock gw-it  ok ") }
      #expect(!top.terminal.isCooked, "keys come singly, and unseen")
      try TestProducer(stage.field.endpoint).publish((0..<50).map { .reading("m-\($0)") })
      let picture = try top.wait(for: "the records") {
        $0.contains("Everything has arrived: 50 records accepted.") && $0.contains("q ends")
      }
      let lines = Self.lines(of: picture)
      let route = try #require(lines.first { $0.hasPrefix("telemetry  running") })
      #expect(route.contains(" connected ") && route.contains(" 50 "), "\(route)")
      let sink = try #require(lines.first { $0.hasPrefix("telemetry  central") })
      #expect(sink.contains(" connected ") && sink.contains(" 0 "), "\(sink)")

      try stage.central.terminate()
      try TestProducer(stage.field.endpoint).publish((50..<70).map { .reading("m-\($0)") })
      try top.wait(for: "the backlog") { picture in
        Self.lines(of: picture).contains {
          $0.hasPrefix("telemetry  central") && $0.contains("reconnecting") && $0.contains(" 20 ")
        }
      }
      try agent.kill()
      try top.wait(for: "the absence") { $0.hasPrefix("no agent runs; waiting for it") }
      try stage.central.start()
      try agent.startConnected()
      let earlier = top.pictures.count
      try wait(for: "the gateway again") {
        top.pictures.dropFirst(earlier).contains { $0.hasPrefix("penstock gw-it  ok ") }
      }
      top.terminal.press("x")
      let count = top.pictures.count
      try wait(for: "another picture") { top.pictures.count > count }
      top.terminal.press("q")
      #expect(try top.end() == .exited(code: 0))
      let screen = top.terminal.screen
      #expect(screen.contains(Self.hideCursor) && screen.hasSuffix(Self.showCursor))
      #expect(top.terminal.isCooked, "the terminal is as it was")
      #expect(try agent.stop() == 0)
    }

    @Test("it draws no more than the terminal has room for, and SIGTERM ends it")
    func small() throws {
      let stage = try OperatorStage()
      let top = try Top(stage.agent, columns: 40, rows: 6)
      try top.wait(for: "a picture") { $0.hasPrefix("penstock gw-it") }
      let count = top.pictures.count
      try wait(for: "a whole one") { top.pictures.count > count }
      let whole = try #require(top.pictures.dropLast().last)
      let lines = Self.lines(of: whole)
      // The last line end leaves the cursor on a line of its own.
      #expect(lines.count <= 6 && lines.allSatisfy { $0.count <= 40 }, "\(lines)")
      top.send(signal: 15)
      #expect(try top.end() == .exited(code: 0))
      #expect(top.terminal.isCooked && top.terminal.screen.hasSuffix(Self.showCursor))
      #expect(try stage.agent.stop() == 0)
    }

    @Test("without a terminal: one picture without an escape sequence; without an agent: 69")
    func noTerminal() throws {
      let stage = try OperatorStage()
      let picture = try stage.agent.command("top")
      #expect(picture.code == 0, "\(picture.error)")
      #expect(picture.output.hasPrefix("penstock gw-it  ok "), "\(picture.output)")
      #expect(picture.output.contains("\ntelemetry  running"), "\(picture.output)")
      #expect(!picture.output.contains("\u{1b}"))
      #expect(try stage.agent.stop() == 0)
      let none = try stage.agent.command("top")
      #expect(none.code == 69 && none.output.isEmpty, "\(none.output)\(none.error)")
    }
  }
}
