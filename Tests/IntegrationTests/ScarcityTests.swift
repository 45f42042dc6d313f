// Goal: little memory and few descriptors are enough, or are refused in words. Method: a memory
// control group and ulimit around the real process. Cannot show: a failing malloc inside Swift
// code, which ends the process like a SIGKILL does (see the crash tests); libmosquitto's own is the
// same heap.

import Audit
import GatewayCore
import Glibc
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("little memory, few descriptors")
  struct ScarcityTests {
    @Test(
      "64 MiB are enough for a load and a backlog, and nothing is lost",
      .enabled(if: MemoryGroup.isPossible, "needs root and a writable memory control group (v1)"))
    func memory() throws {
      var options = BrokerOptions()
      options.persistence = true
      options.maxQueuedMessages = 200_000
      var field = try BrokerProcess(name: "field", options: options)
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      file.journalLines = ["size: 256MiB"]
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let group = try MemoryGroup(byteCountMax: 64 << 20)
      let agent = try TestAgent(file)
      try agent.start(wrapper: group.wrapper)
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      try central.terminate()
      let count = LongRun.value("PENSTOCK_BACKLOG_MESSAGES", standard: 20_000)
      let producer = try TestProducer(field.endpoint)
      for start in stride(from: 0, to: count, by: 1000) {
        try producer.publish(
          (start..<min(start + 1000, count)).map { .reading("m-\($0)", byteCount: 200) })
      }
      try agent.wait(for: "the backlog", within: .seconds(180)) {
        try agent.metric("penstock_ingest_journalled_total") == Double(count)
      }
      try central.start()
      try agent.wait(for: "all deliveries", within: .seconds(180)) {
        try agent.metric("penstock_upstream_acknowledged_sequence") == Double(count)
      }
      let peak = try #require(agent.peakResidentByteCount)
      Console.line("memory: \(count) messages of backlog, peak \(peak >> 10) KiB resident")
      #expect(peak <= 64 << 20)
      #expect(group.killCount == 0, "the kernel has killed in this group")
      try wait(for: "the observer", within: .seconds(60)) {
        deliveries.events.count >= count
      }
      #expect(deliveries.faults(expecting: (0..<count).map { "m-\($0)" }) == [])
      #expect(try agent.stop() == 0)
    }

    @Test(
      "few descriptors: it works, or says so and ends with a code of its own",
      arguments: [28, 16, 12, 8])
    func descriptors(limit: Int) throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.start(wrapper: ["/bin/sh", "-c", "ulimit -n \(limit); exec \"$@\"", "sh"])
      var code: Int32?
      var isWorking = false
      try wait(for: "the agent to work or to end") {
        code = agent.endedCode()
        isWorking =
          agent.log.contains("receiving from the field broker")
          && agent.log.contains("delivering upstream")
        return code != nil || isWorking
      }
      Console.line("descriptors: \(limit): \(isWorking ? "works" : "ends with \(code ?? -1)")")
      // The service runs with systemd's 1024 and more; 28 must do.
      #expect(isWorking || limit < 28)
      guard isWorking else {
        #expect(code == 78, "\(agent.log)")
        #expect(agent.log.contains("may have \(limit) files open"), "\(agent.log)")
        return
      }
      try TestProducer(field.endpoint).publish([.reading("m-1")])
      try wait(for: "the delivery") { deliveries.faults(expecting: ["m-1"]).isEmpty }
      #expect(try agent.stop() == 0)
    }
  }
}

/// A memory control group of one's own; goes with the owner, after the processes in it.
private struct MemoryGroup: ~Copyable {
  private static let parent = "/sys/fs/cgroup/memory"
  private let path: String

  static let isPossible = geteuid() == 0 && (try? MemoryGroup(byteCountMax: 64 << 20)) != nil

  init(byteCountMax: Int) throws {
    guard (try? FileStatus(path: "\(Self.parent)/memory.limit_in_bytes")) != nil else {
      throw TestFailure("\(Self.parent) is no memory control group")
    }
    let path = "\(Self.parent)/penstock-test-\(getpid())-\(UInt32.random(in: 0 ... .max))"
    guard unsafe mkdir(path, 0o755) == 0 else { throw SystemError("mkdir \(path)") }
    do {
      let file = try File.open("\(path)/memory.limit_in_bytes", flags: O_WRONLY)
      let text = Array("\(byteCountMax)".utf8)
      guard unsafe write(file.raw, text, text.count) == text.count else {
        throw SystemError("write \(path)/memory.limit_in_bytes")
      }
    } catch {
      unsafe rmdir(path)
      throw error
    }
    self.path = path
  }

  deinit {
    // The last process may still be on its way out.
    for _ in 0..<100 where unsafe rmdir(path) != 0 && errno == EBUSY { _ = poll(nil, 0, 10) }
  }

  /// What runs a program in this group.
  var wrapper: [String] {
    ["/bin/sh", "-c", "echo $$ > \(path)/cgroup.procs && exec \"$@\"", "sh"]
  }

  /// Processes of this group that the kernel has killed for want of memory.
  var killCount: Int {
    let line = text(of: "\(path)/memory.oom_control").split(separator: "\n")
      .first { $0.hasPrefix("oom_kill ") }
    return line?.split(separator: " ").last.flatMap { Int($0) } ?? 0
  }
}

extension TestAgent {
  /// The most memory it ever had resident (proc(5), VmHWM); nil when it does not run.
  var peakResidentByteCount: Int? {
    guard let id = processID else { return nil }
    let line = text(of: "/proc/\(id)/status").split(separator: "\n")
      .first { $0.hasPrefix("VmHWM:") }
    return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 << 10 }
  }
}
