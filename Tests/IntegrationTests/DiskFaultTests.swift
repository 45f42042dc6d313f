// Goal: after the first failed sync nothing is acknowledged any more, the agent ends with 74, and
// the broker's redelivery makes everything good; a slow disk only delays. Method: strace makes
// fdatasync fail or return late in the real process; the field broker's log counts PUBACKs. Cannot
// show: what a real disk keeps after a failed write (see the journal's own tests).

import Audit
import GatewayCore
import Glibc
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite(
    "a disk that fails or is slow",
    .enabled(if: Tracing.isPossible, "needs strace and the right to trace a child"))
  struct DiskFaultTests {
    private func field() throws -> BrokerProcess {
      var options = BrokerOptions()
      options.logTypes = ["all"]
      return try BrokerProcess(name: "field", options: options)
    }

    @Test("a failed sync: exit code 74 within a second, no PUBACK after it, nothing lost")
    func failedSync() throws {
      var field = try field()
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      let trace = agent.path + "/trace"
      try agent.start(
        wrapper: Tracing.wrapper(into: trace, ["inject=fdatasync:error=EIO:when=12+"]))
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      let producer = try TestProducer(field.endpoint)
      let puback = "Received PUBACK from \(file.inboundClientID)"
      // One commit for each message, so that the failing one is somewhere in the middle.
      var ids: [String] = []
      var code: Int32?
      while code == nil, ids.count < 100 {
        ids.append("m-\(ids.count)")
        try producer.publish([.reading(ids[ids.count - 1])])
        try wait(for: "a PUBACK or the end") {
          code = agent.endedCode()
          return code != nil || field.log.lineCount(puback) == ids.count
        }
      }
      #expect(code == 74)
      #expect(ids.count > 1)
      #expect(agent.log.contains("stopping"), "\(agent.log)")
      // Acknowledged were those before the failing one, and never one more.
      #expect(field.log.lineCount(puback) == ids.count - 1)
      let times = Tracing.times(in: trace)
      let failed = try #require(times.failure)
      let ended = try #require(times.end)
      #expect(ended - failed <= 1.0, "\(ended - failed) s from the failed sync to the end")

      try agent.start()
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: ids).isEmpty }
      try agent.wait(for: "the last PUBACK") { field.log.lineCount(puback) == ids.count }
      #expect(deliveries.faults(expecting: ids) == [])
      #expect(try agent.stop() == 0)
    }

    @Test("a slow sync and SIGKILL in the middle of it lose and duplicate nothing")
    func slowSync() throws {
      var field = try field()
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.start(
        wrapper: Tracing.wrapper(
          into: agent.path + "/trace", ["inject=fdatasync:delay_exit=200000"]))
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      let producer = try TestProducer(field.endpoint)
      let puback = "Received PUBACK from \(file.inboundClientID)"
      let ids = (0..<300).map { "m-\($0)" }
      let start = Clock.monotonic()
      try producer.publish([.reading(ids[0])])
      try agent.wait(for: "the first PUBACK") { field.log.lineCount(puback) == 1 }
      #expect(Clock.monotonic().since(start) >= .milliseconds(200))
      // One message is in its sync when the process dies, the rest waits at the broker.
      try producer.publish(ids.dropFirst().map { .reading($0) })
      try agent.killTraced()
      #expect(field.log.lineCount(puback) < ids.count)
      try agent.start()
      try agent.wait(for: "all deliveries") { deliveries.faults(expecting: ids).isEmpty }
      #expect(deliveries.faults(expecting: ids) == [])
      #expect(try agent.stop() == 0)
    }
  }
}

/// System calls of a child, made to fail or wait by strace(1).
enum Tracing {
  static let isPossible: Bool = {
    guard let strace = Environment.executable(named: "strace") else { return false }
    let attempt = try? Command(
      executable: strace, arguments: ["-f", "-e", "trace=none", "/bin/true"], environment: [:],
      within: .seconds(20))
    return attempt?.code == 0
  }()

  /// What runs a program with its fdatasync calls traced, with times, into `path`.
  static func wrapper(into path: String, _ expressions: [String]) -> [String] {
    let strace = Environment.executable(named: "strace") ?? "strace"
    return [strace, "-f", "-ttt", "-o", path, "-e", "trace=fdatasync"]
      + expressions.flatMap { ["-e", $0] }
  }

  /// What runs a program with every write to a file and every sync failing; the calls go into
  /// `path`. The program itself is the child, so that signals reach it.
  static func deadDisk(into path: String) -> [String] {
    let strace = Environment.executable(named: "strace") ?? "strace"
    let calls = "pwrite64,fdatasync,fsync"
    return [
      strace, "-D", "-f", "-o", path, "-e", "trace=\(calls)", "-e",
      "inject=\(calls):error=EIO",
    ]
  }

  /// When the first injected failure returned and when the process had ended; seconds.
  static func times(in path: String) -> (failure: Double?, end: Double?) {
    var failure: Double?
    var end: Double?
    for line in text(of: path).split(separator: "\n") {
      let time = line.split(separator: " ").dropFirst().first.flatMap { Double($0) }
      if failure == nil, line.contains("EIO"), line.contains("INJECTED") { failure = time }
      if line.contains("+++ exited with 74 +++") { end = time }
    }
    return (failure, end)
  }
}

extension TestAgent {
  /// SIGKILL to the agent under strace, which then ends as well.
  func killTraced() throws {
    guard let tracer = processID else { throw TestFailure("the agent does not run") }
    let children = text(of: "/proc/\(tracer)/task/\(tracer)/children")
    guard let traced = children.split(separator: " ").first.flatMap({ Int32($0) }) else {
      throw TestFailure("strace has no child")
    }
    _ = Glibc.kill(traced, SIGKILL)
    try waitForKill()
  }
}
