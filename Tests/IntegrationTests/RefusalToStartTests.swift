// Goal: what a person must decide stops the agent at once, with the documented exit code and a
// sentence, and nothing is touched. Method: wrong files, wrong directories, a small ext4 volume on
// a loop device. Cannot show: every wrong configuration (see the configuration's own tests).

import Audit
import Glibc
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("what the agent refuses to start with")
  struct RefusalToStartTests {
    /// For an agent that ends before it needs a broker.
    private func closedFile() throws -> GatewayFile {
      GatewayFile(fieldPort: try Loopback.freePort(), centralPort: try Loopback.freePort())
    }

    @Test("a wrong configuration: exit code 78 and every error, with file and line")
    func configuration() throws {
      var file = try closedFile()
      file.fieldLines = ["keep_alive: 1ms", "nonsense: 1"]
      file.routeLines = ["missing_id: perhaps"]
      file.journalLines = ["size: 1MiB"]
      let agent = try TestAgent(file)
      try agent.start()
      #expect(try agent.waitForEnd() == 78)
      let path = agent.configurationPath
      for (key, word) in [
        ("brokers.field.keep_alive", "1ms"), ("brokers.field.nonsense", "nonsense"),
        ("routes[0].missing_id", "perhaps"), ("routes[0].journal.size", "1MiB"),
      ] {
        #expect(agent.log.lineCount("\(path):", key, word) >= 1, "\(key): \(agent.log)")
      }
      #expect(agent.log.contains("4 errors"))
      let check = try Command("check-config", path)
      #expect(check.code == 78)
      #expect(check.error.lineCount("\(path):") == 4)
      #expect(try FileStatus(path: agent.dataDirectory).isDirectory)
      #expect((try? FileStatus(path: agent.journalPath)) == nil)
    }

    @Test("a second agent on the same journal is refused at once; the first goes on")
    func secondAgent() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let first = try TestAgent(file)
      try first.startConnected()
      let second = try TestAgent(file, dataDirectory: first.dataDirectory)
      try second.start()
      #expect(try second.waitForEnd(within: .seconds(10)) == 74)
      #expect(second.log.contains("is in use by another process"), "\(second.log)")
      try TestProducer(field.endpoint).publish([.reading("m-1")])
      try first.wait(for: "the delivery") { deliveries.events.count == 1 }
      #expect(first.log.lineCount("receiving from the field broker") == 1)
      #expect(try first.stop() == 0)
    }

    @Test(
      "a second agent that comes through a bind mount of the directory is refused as well",
      .enabled(if: LoopVolume.isPossible, "needs root and the right to mount"))
    func secondAgentThroughBindMount() throws {
      let first = try TestAgent(try closedFile())
      try first.start()
      try first.wait(for: "the journal") { first.log.contains("journal open") }
      let directory = try TemporaryDirectory(prefix: "penstock-bind")
      let point = try directory.makeSubdirectory("mount")
      let mounted = try Command(tool: "mount", ["--bind", first.dataDirectory, point])
      try #require(mounted.code == 0, "\(mounted.error)")
      defer { _ = try? Command(tool: "umount", [point]) }
      let second = try TestAgent(try closedFile(), dataDirectory: point)
      try second.start()
      #expect(try second.waitForEnd(within: .seconds(10)) == 74)
      #expect(second.log.contains("is in use by another process"), "\(second.log)")
      #expect(try first.stop() == 0)
    }

    @Test("a page port that is taken is said and does not keep the agent from its work")
    func portTaken() throws {
      var field = try BrokerProcess(name: "field")
      var central = try BrokerProcess(name: "central")
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file, observabilityPort: central.port)
      try agent.start()
      try agent.wait(for: "both brokers to be used") {
        agent.log.contains("receiving from the field broker")
          && agent.log.contains("delivering upstream")
      }
      #expect(
        agent.log.lineCount("cannot listen on 127.0.0.1:\(central.port)", "observability.listen")
          == 1, "\(agent.log)")
      try TestProducer(field.endpoint).publish([.reading("m-1")])
      try agent.wait(for: "the delivery") { deliveries.events.count == 1 }
      #expect(try agent.stop() == 0)
    }

    @Test("the journal of another gateway: exit code 78, and the file stays as it is")
    func otherGateway() throws {
      let agent = try TestAgent(try closedFile())
      try agent.start()
      try agent.wait(for: "the journal") { agent.log.contains("journal open") }
      #expect(try agent.stop() == 0)
      let before = try File.readSmall(agent.journalPath, byteCountMax: 64 << 20)
      agent.file.gatewayID = "gw-other"
      try agent.start()
      #expect(try agent.waitForEnd() == 78)
      #expect(agent.log.contains("belongs to gateway gw-it, not gw-other"), "\(agent.log)")
      #expect(try File.readSmall(agent.journalPath, byteCountMax: 64 << 20) == before)
    }

    @Test("a data directory that is missing: exit code 78, and it is not made")
    func missingDirectory() throws {
      let directory = try TemporaryDirectory(prefix: "penstock-missing")
      let path = directory.path + "/nowhere"
      let agent = try TestAgent(try closedFile(), dataDirectory: path)
      try agent.start()
      #expect(try agent.waitForEnd() == 78)
      #expect(agent.log.contains("\(path) does not exist"), "\(agent.log)")
      #expect((try? FileStatus(path: path)) == nil)
    }

    @Test(
      "a disk too small for the ring: exit code 78 before anything is written",
      .enabled(if: LoopVolume.isPossible, "needs root, mkfs.ext4 and a loop device"))
    func diskTooSmall() throws {
      let volume = try LoopVolume(mebibytes: 10)
      let agent = try TestAgent(try closedFile(), dataDirectory: volume.mountPoint)
      try agent.start()
      #expect(try agent.waitForEnd() == 78)
      #expect(agent.log.contains("needs 16MiB"), "\(agent.log)")
      let left = try Command(tool: "ls", [volume.mountPoint])
      #expect(left.output == "lost+found\n")
    }
  }
}

/// A small ext4 file system of one's own, on a loop device; unmounted when the owner goes.
struct LoopVolume: ~Copyable {
  private let directory: TemporaryDirectory
  let mountPoint: String

  /// Tried once, because a container may forbid what root is otherwise allowed.
  static let isPossible = geteuid() == 0 && (try? LoopVolume(mebibytes: 10)) != nil

  init(mebibytes: Int) throws {
    let directory = try TemporaryDirectory(prefix: "penstock-volume")
    let image = directory.path + "/image"
    let point = try directory.makeSubdirectory("mount")
    for (tool, arguments) in [
      ("truncate", ["-s", "\(mebibytes)M", image]), ("mkfs.ext4", ["-q", "-m", "0", image]),
      ("mount", ["-o", "loop", image, point]),
    ] {
      let command = try Command(tool: tool, arguments)
      guard command.code == 0 else { throw TestFailure("\(tool): \(command.error)") }
    }
    self.directory = directory
    mountPoint = point
  }

  deinit { _ = try? Command(tool: "umount", [mountPoint]) }
}
