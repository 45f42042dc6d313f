// Goal: after the first failed sync or write nothing is acknowledged, nothing is tried again, the
// process ends with 74 within a second, and the redelivery makes everything good; a short or
// interrupted write goes on at the right offset. Method: strace makes the N-th call of the real
// process fail, N = 1, 2, …, and its log shows every PUBACK, sync and write that followed; libfiu
// makes writes really short. Cannot show: what a real disk keeps after a failed call (see the tests
// that lose pages).

import Audit
import GatewayCore
import Platform
import TestSupport
import Testing

@Suite(
  "system calls that fail", .serialized,
  .enabled(if: Trace.isPossible, "needs strace and the right to trace a child"))
struct InjectedErrorTests {
  /// A gateway whose journal exists and holds something.
  private func makeStage(
    _ directory: borrowing TemporaryDirectory, _ load: PowerLoad = .small
  ) throws -> PowerStage {
    let stage = try PowerStage(dataDirectory: try directory.makeSubdirectory("data"), load: load)
    // A commit for a few messages: many calls in little time. In large groups, as many as fit.
    if load.volumeByteCount == nil { stage.field.withRole { $0.windowMax = 5 } }
    try stage.gateway.start()
    stage.send(20)
    try stage.gateway.wait(for: "the first PUBACKs") { stage.acknowledgedCount == 20 }
    try stage.drain()
    #expect(try stage.gateway.stop() == 0)
    return stage
  }

  private func drainAndStop(_ stage: PowerStage) throws {
    try stage.gateway.start()
    try stage.drain()
    #expect(try stage.gateway.stop() == 0)
    try stage.waitForSilence()
  }

  @Test(
    "a failed call ends in exit code 74 within a second, without PUBACK and without another try",
    arguments: [
      ("fdatasync:error=EIO", PowerLoad.small), ("pwrite64:error=EIO", .small),
      ("pwrite64:error=ENOSPC", .small), ("pwrite64:error=EDQUOT", .small),
      // A group in several pieces: the failure may come with some of them on the disk.
      ("pwrite64:error=EIO", .large), ("sync_file_range:error=EIO", .large),
      ("fdatasync:error=EIO", .large),
    ])
  func failure(fault: String, load: PowerLoad) throws {
    let start = Stopwatch()
    let directory = try TemporaryDirectory(prefix: "penstock-injected")
    let stage = try makeStage(directory, load)
    var (slowest, pieceCount) = (0.0, 0)
    for number in 1...Campaign.callCount {
      let path = "\(directory.path)/trace-\(number)"
      let before = stage.acknowledgedCount
      try stage.gateway.start(wrapper: Trace.wrapper(into: path, "\(fault):when=\(number)"))
      stage.send(1 << 30)
      #expect(try stage.gateway.waitForEnd() == 74, "call \(number)")
      try stage.waitForSilence()
      let trace = Trace(path: path)
      let failed = try #require(trace.firstInjected, "call \(number) was not reached")
      #expect(trace.sins(after: failed) == [], "call \(number)")
      // The log misses no PUBACK: those in it are those that arrived.
      let traced = trace.calls.count(where: \.isAcknowledgement)
      #expect(traced == stage.acknowledgedCount - before, "call \(number)")
      pieceCount += trace.calls.count {
        $0.isCall("pwrite64") && Write($0).byteCount == 256 << 10
      }
      let seconds = try #require(trace.seconds(from: failed, toExit: 74), "call \(number)")
      slowest = max(slowest, seconds)
      try drainAndStop(stage)
    }
    let report = try stage.report()
    Campaign.tell(
      "\(fault), \(load.testDescription)",
      runs: "\(Campaign.callCount) calls, \(Int(slowest * 1000)) ms to the exit at most",
      report.counts,
      since: start)
    #expect(slowest <= 1)
    #expect((pieceCount > 0) == (load.volumeByteCount != nil))
    #expect(report.isClean(allowedRedelivery: .max), "\(report.table(allowedRedelivery: .max))")
    #expect(report.counts.acknowledged == report.counts.sent)
  }

  @Test("a filesystem that cannot begin to write back early loses nothing but time")
  func noEarlyWriteback() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-injected")
    let stage = try makeStage(directory, .large)
    let path = "\(directory.path)/trace"
    try stage.gateway.start(
      wrapper: Trace.wrapper(into: path, "sync_file_range:error=EOPNOTSUPP:when=1+"))
    let wanted = stage.acknowledgedCount + 400
    stage.send(400)
    try stage.gateway.wait(for: "PUBACKs") { stage.acknowledgedCount == wanted }
    try stage.gateway.kill()
    try stage.waitForSilence()
    #expect(Trace(path: path).firstInjected != nil)
    try drainAndStop(stage)
    let report = try stage.report()
    #expect(report.isClean(allowedRedelivery: .max), "\(report.table(allowedRedelivery: .max))")
  }

  @Test("an interrupted write is made again at the same place, a short one where it ended")
  func interrupted() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-injected")
    for number in 1...Campaign.callCount {
      for (fault, done) in [("error=EINTR", 0), ("retval=100", 100)] {
        // strace claims the 100 bytes and writes none of them: that journal is worth nothing later.
        let scratch = try TemporaryDirectory(prefix: "penstock-injected")
        let stage = try makeStage(scratch)
        let path = "\(directory.path)/trace-\(fault)-\(number)"
        try stage.gateway.start(
          wrapper: Trace.wrapper(into: path, "pwrite64:\(fault):when=\(number)"))
        let wanted = stage.acknowledgedCount + 5 * number + 50
        stage.send(1 << 30)
        try stage.gateway.wait(for: "PUBACKs") { stage.acknowledgedCount >= wanted }
        try stage.gateway.kill()
        let trace = Trace(path: path)
        let first = try #require(trace.firstInjected, "call \(number) was not reached")
        let call = trace.calls[first]
        let next = try #require(
          trace.calls[(first + 1)...].first {
            $0.process == call.process && $0.isCall("pwrite64")
          })
        let (before, after) = (Write(call), Write(next))
        #expect(after.offset == before.offset + done, "\(call.text) then \(next.text)")
        #expect(after.byteCount == before.byteCount - done, "\(call.text) then \(next.text)")
      }
    }
  }

  private struct Write {
    let byteCount: Int
    let offset: Int

    /// `pwrite64(9, "\x50"..., 4096, 16384) = …`
    init(_ call: Trace.Call) {
      let numbers = call.text.prefix { $0 != ")" }.split(separator: ",")
        .compactMap { Int($0.split(separator: " ").joined()) }
      byteCount = numbers.dropLast().last ?? -1
      offset = numbers.last ?? -1
    }
  }

  @Test(
    "writes that are really short lose and duplicate nothing",
    .enabled(if: Tool.isInstalled("fiu-run"), "fiu-run is not installed: apt-get install fiu-utils")
  )
  func shortWrites() throws {
    let start = Stopwatch()
    let directory = try TemporaryDirectory(prefix: "penstock-injected")
    let stage = try makeStage(directory)
    let count = 200 * Campaign.callCount
    for _ in 0..<2 {
      // Every third write writes only a part of what it was given.
      let fiu = try #require(Environment.executable(named: "fiu-run"))
      try stage.gateway.start(
        wrapper: [
          fiu, "-x", "-c", "enable_random name=posix/io/rw/pwrite/reduce,probability=0.33",
        ])
      let wanted = stage.acknowledgedCount + count
      stage.send(count)
      try stage.gateway.wait(for: "PUBACKs") { stage.acknowledgedCount == wanted }
      try stage.gateway.kill()
      try stage.waitForSilence()
    }
    try drainAndStop(stage)
    let report = try stage.report()
    Campaign.tell("short writes", runs: "2 lives", report.counts, since: start)
    #expect(report.isClean(allowedRedelivery: .max), "\(report.table(allowedRedelivery: .max))")
  }
}
