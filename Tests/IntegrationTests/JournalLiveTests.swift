// Goal: the reading commands beside a writer that is at work: no false alarm, nothing missed,
// nothing twice; and a follower that ends when it is asked to.
// Method: the built binary on a journal that a thread of this process commits to all the while.

import GatewayCore
import Glibc
import Platform
import RingJournal
import Synchronization
import TestSupport
import Testing

@Suite("journal: reading beside a writer", .serialized)
struct JournalLiveTests {
  /// Commits small and large groups until it is stopped; everything is acknowledged at once, so
  /// that the ring turns again and again.
  private final class Load: Sendable {
    private struct State {
      var path = ""
      var committed: UInt64 = 0
      var failure: String?
      var isEnded = false
    }
    private let state = Mutex(State())
    private let isAtWork = Atomic<Bool>(true)

    /// - Parameters:
    ///   - pause: between two commits, in milliseconds.
    ///   - payload: bytes of every tenth record; the others have 50.
    init(pause: Int32, payload: Int) throws {
      Thread.start(name: "load") { [self] in
        do {
          try run(pause: pause, payload: payload)
        } catch {
          state.withLock { $0.failure = "\(error)" }
        }
        state.withLock { $0.isEnded = true }
      }
      try wait(for: "the first commits") { try committed() >= 20 }
    }

    var path: String { state.withLock { $0.path } }

    func committed() throws -> UInt64 {
      try state.withLock {
        if let failure = $0.failure { throw TestFailure("the writer: \(failure)") }
        return $0.committed
      }
    }

    func stop() throws {
      isAtWork.store(false, ordering: .relaxed)
      try wait(for: "the writer's end") { state.withLock { $0.isEnded } }
      _ = try committed()
    }

    private func run(pause: Int32, payload: Int) throws {
      let sample = try SampleJournal()
      state.withLock { $0.path = sample.path }
      var number: UInt64 = 0
      while isAtWork.load(ordering: .relaxed) {
        number += 1
        let size = number % 10 == 0 ? payload : 50
        try sample.append(
          topic: "pumps/ND0\(number % 3)/metrics", id: "m-\(number)",
          payload: String(repeating: "x", count: size))
        try sample.commit()
        sample.acknowledge(0, through: number)
        sample.acknowledge(1, through: number)
        state.withLock { $0.committed = number }
        _ = poll(nil, 0, pause)
      }
      try sample.close()
      // Whoever still reads it has it open.
    }
  }

  @Test("verify and export beside a writer whose ring turns find no damage and no hole")
  func beside() throws {
    let load = try Load(pause: 0, payload: 900_000)
    var seenAtWork = false
    // Until the region of 8 MiB has been written three times.
    var rounds = 0
    while try rounds < 3 || load.committed() * 90_000 < 24 << 20 {
      rounds += 1
      let verify = try Command("journal", "verify", "--json", load.path)
      #expect(verify.code == 0, "\(verify.output)\(verify.error)")
      #expect(verify.output.contains(#""corrupt_records":0"#), "\(verify.output)")
      if verify.output.contains(#""live":true"#) { seenAtWork = true }
      let export = try Command("journal", "list", "--json", load.path)
      #expect(export.code == 0, "\(export.error)")
      var next: UInt64?
      for line in export.output.split(separator: "\n") {
        if line.hasPrefix("{\"absent\"") {
          next = nil
          continue
        }
        let sequence = UInt64(line.dropFirst(12).prefix { $0.isNumber })
        #expect(sequence != nil && next == nil || sequence == next, "\(line)")
        next = sequence.map { $0 + 1 }
      }
    }
    #expect(seenAtWork, "the file was in use and nobody noticed")
    try load.stop()
  }

  @Test("tail -f shows every record once as it is committed, and ends with 0 on SIGINT")
  func follows() throws {
    let load = try Load(pause: 2, payload: 3000)
    let output = try TemporaryDirectory(prefix: "penstock-tail")
    let file = output.path + "/lines"
    var tail = try ChildProcess(
      executable: Command.penstock, arguments: ["journal", "tail", "-f", "-n", "5", load.path],
      environment: [:], standardOutput: .file(path: file),
      standardError: .file(path: output.path + "/error"))
    try wait(for: "300 followed records") { text(of: file).lineCount("m-") >= 300 }
    let newest = try load.committed()
    try wait(for: "the newest") { text(of: file).contains("m-\(newest)\n") }
    #expect(kill(tail.id, SIGINT) == 0)
    let status = try tail.wait(atMost: .seconds(10))
    #expect(status == .exited(code: 0), "\(text(of: output.path + "/error"))")
    try load.stop()
    let shown = text(of: file).split(separator: "\n").map { line in
      UInt64(line.drop { $0 == " " }.prefix { $0.isNumber })
    }
    let first = try #require(shown.first ?? nil)
    #expect(shown == (first..<first + UInt64(shown.count)).map { $0 })
  }

  @Test("tail -f goes on when another file takes the name")
  func replaced() throws {
    let (first, second) = (try SampleJournal(), try SampleJournal())
    try first.fill()
    try second.fill()
    let output = try TemporaryDirectory(prefix: "penstock-tail")
    let file = output.path + "/lines"
    let path = output.path + "/telemetry.journal"
    try File.replace(path, with: File.readSmall(first.path, byteCountMax: 1 << 25))
    var tail = try ChildProcess(
      executable: Command.penstock, arguments: ["journal", "tail", "-f", "-n", "1", path],
      environment: [:], standardOutput: .file(path: file),
      standardError: .file(path: output.path + "/error"))
    try wait(for: "the first file") { text(of: file).lineCount("ND01-3") == 1 }
    try File.replace(path, with: File.readSmall(second.path, byteCountMax: 1 << 25))
    try wait(for: "the second file") { text(of: file).lineCount("ND01-3") == 2 }
    #expect(text(of: output.path + "/error").contains("is another journal now"))
    #expect(kill(tail.id, SIGTERM) == 0)
    #expect(try tail.wait(atMost: .seconds(10)) == .exited(code: 0))
  }
}
