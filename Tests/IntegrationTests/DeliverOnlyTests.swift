// Goal: a disk that can only be read still gives up its records: the gateway delivers them,
// receives nothing, writes nothing, stays up and says so, by itself after repeated disk failures.
// Method: the real process on a read-only bind mount in a mount namespace of its own, and with
// every write and sync failing by strace; its system calls are counted. Cannot show: a device that
// fails reads, too.

import Audit
import Envelope
import GatewayCore
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("deliver-only")
  struct DeliverOnlyTests {
    private static let ids = (0..<50).map { "m-\($0)" }

    /// Both brokers, and an agent that has journalled what it could not deliver, and ended.
    private struct Stage: ~Copyable {
      var field: BrokerProcess
      var central: BrokerProcess
      let agent: TestAgent
      let deliveries: Deliveries

      init() throws {
        var options = BrokerOptions()
        options.logTypes = ["all"]
        var field = try BrokerProcess(name: "field", options: options)
        options = BrokerOptions()
        options.persistence = true
        var central = try BrokerProcess(name: "central", options: options)
        try field.start()
        try central.start()
        let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
        let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
        let agent = try TestAgent(file)
        try agent.startConnected()
        try central.terminate()
        try TestProducer(field.endpoint).publish(ids.map { .reading($0) })
        try agent.wait(for: "the journal") {
          try agent.metric("penstock_ingest_journalled_total") == Double(ids.count)
        }
        try agent.kill()
        try central.start()
        self.field = field
        self.central = central
        self.agent = agent
        self.deliveries = deliveries
      }

      /// How often the agent has connected to the field broker.
      var inboundCount: Int {
        field.log.lineCount("as \(agent.file.inboundClientID)", "New client connected")
      }
    }

    /// Everything is delivered and nothing else happens.
    private func check(_ stage: borrowing Stage, startedAfter inboundCount: Int) throws {
      let (agent, deliveries) = (stage.agent, stage.deliveries)
      try agent.wait(for: "all deliveries") {
        deliveries.faults(expecting: Self.ids).isEmpty
      }
      try agent.wait(for: "the word that all is delivered") {
        agent.log.contains("everything that can be read is delivered")
      }
      try TestProducer(stage.field.endpoint).publish([.reading("later")])
      let health = try agent.health()
      #expect(health.code == 200)
      #expect(health.body.hasPrefix("{\"status\":\"degraded\""))
      #expect(health.body.contains("\"ready\":true"))
      #expect(health.body.contains("\"state\":\"deliver-only\""))
      #expect(health.body.contains("replace the disk"))
      #expect(try agent.metric("penstock_journal_deliver_only") == 1)
      #expect(agent.log.lineCount("deliver-only: the disk is not written") == 1)
      #expect(deliveries.faults(expecting: Self.ids) == [])
      #expect(stage.inboundCount == inboundCount)
    }

    /// Written again, the journal goes on: the same records once more under the same names, and
    /// what the field broker kept.
    private func checkAfterwards(_ stage: borrowing Stage) throws {
      let (agent, deliveries) = (stage.agent, stage.deliveries)
      let before = Set(deliveries.contents.envelopes.flatMap(Self.names))
      try agent.startConnected()
      try agent.wait(for: "what the field broker kept") {
        deliveries.faults(expecting: Self.ids + ["later"]).isEmpty
      }
      #expect(try agent.stop() == 0)
      let all = deliveries.contents.envelopes.flatMap(Self.names)
      #expect(Set(all).count == before.count + 1)
      #expect(all.count >= 2 * Self.ids.count)
    }

    /// (journal, epoch, sequence) of each event.
    private static func names(_ envelope: Envelope) -> [String] {
      envelope.events.map {
        "\(envelope.header.journal) \(envelope.header.epoch) \($0.sequence) \($0.id)"
      }
    }

    @Test(
      "on a read-only mount: delivers, receives nothing, stays up",
      .enabled(if: MountNamespace.isPossible, "needs the right to make a mount namespace"))
    func readOnlyMount() throws {
      let stage = try Stage()
      let before = try FileImage(path: stage.agent.journalPath)
      let inboundCount = stage.inboundCount
      let mounted = MountNamespace.readOnly(stage.agent.dataDirectory)
      // Without the option it refuses: the mount is what it says.
      try stage.agent.start(wrapper: mounted)
      #expect(try stage.agent.waitForEnd() == 74)
      try stage.agent.start(wrapper: mounted, arguments: ["--deliver-only"])
      try check(stage, startedAfter: inboundCount)
      #expect(try stage.agent.stop() == 0)
      #expect(try FileImage(path: stage.agent.journalPath) == before)
      try checkAfterwards(stage)
    }

    @Test(
      "every write and sync fails: after three ends with 74 it delivers only; a stop resets that",
      .enabled(if: Tracing.isPossible, "needs strace and the right to trace a child"))
    func fallback() throws {
      let stage = try Stage()
      let agent = stage.agent
      let runtime = try agent.directory.makeSubdirectory("run")
      let count = runtime + "/disk-failures"
      let before = try FileImage(path: agent.journalPath)
      let inboundCount = stage.inboundCount
      func start(_ name: String) throws {
        try agent.start(
          environment: ["RUNTIME_DIRECTORY": runtime],
          wrapper: Tracing.deadDisk(into: agent.path + "/" + name),
          arguments: ["--deliver-only-after", "3"])
      }
      for run in 1...3 {
        try start("failing-\(run)")
        #expect(try agent.waitForEnd() == 74)
        #expect(text(of: count) == "\(run)\n")
      }
      try start("delivering")
      try check(stage, startedAfter: inboundCount)
      #expect(try agent.stop() == 0)
      let calls = text(of: agent.path + "/delivering")
      #expect(calls.contains("exited with 0"))
      #expect(calls.lineCount("pwrite64(") == 0 && calls.lineCount("sync(") == 0, "\(calls)")
      #expect(text(of: agent.path + "/failing-1").contains("INJECTED"))
      #expect(try FileImage(path: agent.journalPath) == before)
      #expect(text(of: count) == "")
      try checkAfterwards(stage)
    }

    @Test("a commit begins a new row of failures; a second process is refused")
    func reset() throws {
      var stage = try Stage()
      let agent = stage.agent
      let runtime = try agent.directory.makeSubdirectory("run")
      let count = runtime + "/disk-failures"
      try File.replace(count, with: Array("2\n".utf8))
      try agent.start(
        environment: ["RUNTIME_DIRECTORY": runtime], arguments: ["--deliver-only-after", "3"])
      try agent.wait(for: "the agent to be connected") { try agent.status() == "ok" }
      #expect(text(of: count) == "2\n")
      try TestProducer(stage.field.endpoint).publish([.reading("later")])
      try agent.wait(for: "the reset") { text(of: count) == "" }
      let second = try TestAgent(agent.file, dataDirectory: agent.dataDirectory)
      try second.start(arguments: ["--deliver-only"])
      #expect(try second.waitForEnd() == 74)
      #expect(second.log.contains("in use by another process"))
      #expect(try agent.stop() == 0)
      try stage.central.terminate()
    }
  }
}

/// All bytes of a file.
private struct FileImage: Equatable {
  let bytes: [UInt8]

  init(path: String) throws {
    bytes = try File.readSmall(path, byteCountMax: 64 << 20)
  }
}

/// A mount table that only a child sees, and that goes with it.
enum MountNamespace {
  static let isPossible: Bool = {
    let attempt = try? Command(
      executable: "/usr/bin/unshare", arguments: ["-m", "mount", "--bind", "/tmp", "/tmp"],
      environment: ["PATH": "/usr/bin:/bin"], within: .seconds(20))
    return attempt?.code == 0
  }()

  /// What runs a program that can only read `directory`.
  static func readOnly(_ directory: String) -> [String] {
    let script = """
      mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"
      """
    return ["/usr/bin/unshare", "-m", "/bin/sh", "-c", script, directory]
  }
}
