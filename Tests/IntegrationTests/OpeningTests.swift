// Goal: an agent that is told to stop, or one of whose routes fails, while it opens its journals
// ends at once and leaves nothing half done. Method: the real binary, stopped in the middle of the
// zero-fill by a failpoint; two routes of which one cannot be opened.

import Audit
import GatewayCore
import Glibc
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("stopped while opening")
  struct OpeningTests {
    #if PENSTOCK_SABOTAGE
      @Test("SIGTERM while a journal is created ends at once with 0 and removes the file")
      func terminatedWhileCreating() throws {
        var file = GatewayFile(
          fieldPort: try Loopback.freePort(), centralPort: try Loopback.freePort())
        file.journalLines = ["size: 1GiB"]
        let agent = try TestAgent(file)
        try agent.start(environment: [Failpoint.variable: "create-mid-fill:3=pause"])
        let creating = agent.journalPath + ".creating"
        try agent.wait(for: "the pause in the zero-fill") {
          ((try? FileStatus(path: creating).byteCount) ?? 0) == 3 << 20 && agent.isPaused
        }
        agent.send(signal: SIGTERM)
        agent.send(signal: SIGCONT)
        let start = Clock.monotonic()
        #expect(try agent.waitForEnd() == 0)
        let seconds = Clock.monotonic().since(start).seconds
        #expect(seconds < 2, "\(seconds) s")
        #expect((try? FileStatus(path: creating)) == nil)
        #expect((try? FileStatus(path: agent.journalPath)) == nil)
        #expect(agent.log.contains("stopped before the journal was created"), "\(agent.log)")
      }
    #endif

    @Test("one route that cannot be opened ends the agent although another is being created")
    func failureOfAnotherRoute() throws {
      let directory = try TemporaryDirectory(prefix: "penstock-opening")
      let data = try directory.makeSubdirectory("data")
      let (fieldPort, centralPort) = (try Loopback.freePort(), try Loopback.freePort())
      // A file of zeros is nobody's journal.
      try File.replace("\(data)/bad.journal", with: [UInt8](repeating: 0, count: 16 << 20))
      func route(_ name: String, size: String) -> [String] {
        [
          "  - name: \(name)", "    from: field", "    subscribe: [\"\(name)/#\"]",
          "    journal: {size: \(size)}", "    to: [{name: central, broker: central}]",
        ]
      }
      let lines =
        [
          "gateway: {id: gw-it, data_directory: \"\(data)\"}", "brokers:",
          "  field: {url: \"mqtt://127.0.0.1:\(fieldPort)\"}",
          "  central: {url: \"mqtt://127.0.0.1:\(centralPort)\"}", "routes:",
        ] + route("bad", size: "16MiB") + route("good", size: "64MiB")
      let configuration = directory.path + "/penstock.yaml"
      try File.replace(configuration, with: Array((lines.joined(separator: "\n") + "\n").utf8))
      let command = try Command("run", "--config", configuration, within: .seconds(20))
      #expect(command.code == 78, "\(command.status) \(command.output) \(command.error)")
      #expect(command.error.contains("\(data)/bad.journal"), "\(command.error)")
    }
  }
}
