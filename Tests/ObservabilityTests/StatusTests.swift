// Goal: the page says what is true, and only a sick process is called unhealthy.
// Method: the board as a value with a manual clock.

import GatewayCore
import Testing

@testable import Observability

let ingest = StageName(route: "telemetry", part: .ingest)
let central = StageName(route: "telemetry", part: .upstream(sink: "central"))

@Suite("status")
struct StatusTests {
  private let clock = ManualClock()

  private func board() -> StatusBoard {
    StatusBoard(
      version: "1.2.3", stallLimit: .seconds(60), monotonic: clock.monotonic, wall: clock.wall)
  }

  @Test("from starting over recovering to ok; ready as soon as the journal is open")
  func startUp() {
    let board = board()
    #expect(board.health().status == .starting)
    board.report(ingest, StageState(.starting))
    board.report(central, StageState(.starting))
    for kind in [StageState.Kind.starting, .creating, .recovering] {
      board.report(ingest, StageState(kind))
      #expect(board.health().status == .starting)
      #expect(!board.health().isReady)
    }
    board.report(ingest, StageState(.reconnecting, "connection refused"))
    #expect(board.health().isReady)
    #expect(board.health().status == .degraded)
    board.report(ingest, StageState(.connected))
    board.report(central, StageState(.connected))
    #expect(board.health().status == .ok)
  }

  @Test(
    "a broker that is away, a full ring and a shutdown degrade; they are not a disease",
    arguments: [StageState.Kind.connecting, .reconnecting, .paused, .budgetSpent, .draining])
  func degraded(kind: StageState.Kind) {
    let board = board()
    board.report(ingest, StageState(.connected))
    board.report(central, StageState(kind, "why"))
    #expect(board.health().status == .degraded)
  }

  @Test("a sink that its connect window keeps disconnected is as it should be, and says so")
  func outsideWindow() {
    let board = board()
    board.report(ingest, StageState(.connected))
    board.report(central, StageState(.outsideWindow, "connects at 22:00"))
    #expect(board.health().status == .ok && board.health().isReady)
    #expect(board.health().line.hasSuffix("outside-window (connects at 22:00)"))
  }

  @Test("a failed journal is unhealthy")
  func failed() {
    let board = board()
    board.report(ingest, StageState(.failed, "fdatasync: Input/output error"))
    #expect(board.health().status == .unhealthy)
    #expect(!board.health().isReady)
  }

  @Test("ingest without progress is stalled after the limit; progress, not state, keeps it alive")
  func stall() {
    let board = board()
    board.report(ingest, StageState(.connected))
    board.report(central, StageState(.connected))
    clock.advance(by: .seconds(60))
    #expect(board.health().status == .ok)
    clock.advance(by: .milliseconds(1))
    #expect(board.health().status == .unhealthy)
    #expect(board.health().line == "unhealthy: 2 of 2 stages connected; telemetry/ingest stalled")
    board.progress(ingest)
    #expect(board.health().status == .ok)
    // Upstream may wait for its broker for days; a stopped route has nothing to do.
    board.report(ingest, StageState(.stopped))
    clock.advance(by: .seconds(100_000))
    #expect(!board.health().isStalled)
  }

  @Test("progress of a stage nobody reported is nothing, a listener hears changes only")
  func listener() {
    let board = board()
    let heard = Counted()
    board.onChange { heard.add() }
    board.progress(ingest)
    #expect(board.health().stages.isEmpty)
    board.report(ingest, StageState(.connecting))
    board.report(ingest, StageState(.connecting))
    board.report(ingest, StageState(.connecting, "second address"))
    #expect(heard.count == 2)
  }

  @Test("the JSON holds every stage, since when and why, with hostile text escaped")
  func json() {
    let board = board()
    board.report(ingest, StageState(.connected))
    board.report(central, StageState(.reconnecting, "\"no\"\u{1b}[2J\nroute"))
    clock.advance(by: .milliseconds(1500))
    board.progress(ingest)
    #expect(
      String(decoding: board.health().json(), as: UTF8.self) == """
        {"status":"degraded","version":"1.2.3","ready":true,"uptime_seconds":1.5,"stages":[\
        {"route":"telemetry","part":"ingest","state":"connected","detail":"",\
        "since":"2026-11-23T06:00:00.123Z","in_state_seconds":1.5,"since_progress_seconds":0,\
        "stalled":false},\
        {"route":"telemetry","part":"upstream","sink":"central","state":"reconnecting",\
        "detail":"\\"no\\"\\u001b[2J\\nroute","since":"2026-11-23T06:00:00.123Z",\
        "in_state_seconds":1.5,"since_progress_seconds":1.5,"stalled":false}],"notes":[]}

        """)
  }

  @Test("notes stand on the page until taken away, at most so many, and change no status")
  func notes() {
    let board = board()
    board.report(ingest, StageState(.connected))
    board.note("b", "second")
    board.note("a", "\"first\"")
    #expect(board.health().notes == ["\"first\"", "second"])
    #expect(board.health().status == .ok)
    #expect(
      String(decoding: board.health().json(), as: UTF8.self)
        .hasSuffix(#","notes":["\"first\"","second"]}"# + "\n"))
    board.note("b", nil)
    #expect(board.health().notes == ["\"first\""])
    for index in 0..<2 * StatusBoard.notesMax { board.note("\(index)", "more") }
    #expect(board.health().notes.count == StatusBoard.notesMax)
  }

  @Test("a long detail is cut")
  func detailLimit() {
    let board = board()
    board.report(ingest, StageState(.paused, String(repeating: "é", count: 5000)))
    #expect(
      board.health().stages[0].state.detail.utf8.count == StatusBoard.detailByteCountMax)
  }
}
