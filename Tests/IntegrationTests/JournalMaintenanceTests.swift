// Goal: what an operator does to the journal of a stopped gateway holds when the gateway runs
// again: skips are gaps at the centre, a resized or repaired ring delivers everything, a running
// gateway is left in peace. Method: the commands of the built program on the files of a real
// gateway.

import Audit
import Envelope
import GatewayCore
import Platform
import TestSupport
import Testing

extension IntegrationSuite {
  @Suite("penstock journal create, skip, resize and repair")
  struct JournalMaintenanceTests {
    private static let ids = (1...60).map { "m-\($0)" }

    /// A gateway that journalled 60 messages while its centre was away, stopped.
    private static func stage() throws -> Stage {
      var field = try BrokerProcess(name: "field")
      var options = BrokerOptions()
      options.persistence = true
      var central = try BrokerProcess(name: "central", options: options)
      try field.start()
      try central.start()
      let file = GatewayFile(fieldPort: field.port, centralPort: central.port)
      let deliveries = try Deliveries(central.endpoint, filter: file.upstreamTopic)
      let agent = try TestAgent(file)
      try agent.startConnected()
      try central.terminate()
      try TestProducer(field.endpoint).publish(ids.map { .reading($0, byteCount: 2_000) })
      try agent.wait(for: "all to be journalled") {
        try agent.metric("penstock_ingest_journalled_total") == 60
      }
      let stage = Stage(field: field, central: central, deliveries: deliveries, agent: agent)
      return stage
    }

    private struct Stage: ~Copyable {
      var field: BrokerProcess
      var central: BrokerProcess
      let deliveries: Deliveries
      let agent: TestAgent
      var journal: String { agent.journalPath }
    }

    @Test(
      "a gateway that runs keeps its journal: every writing command says so and touches nothing")
    func busy() throws {
      let stage = try Self.stage()
      for arguments in [
        ["skip", stage.journal, "--to", "3"], ["resize", stage.journal, "--size", "32MiB"],
        ["repair", stage.journal, "--no-copy"],
      ] {
        let command = try Command(
          executable: Command.penstock, arguments: ["journal"] + arguments, environment: [:],
          within: .seconds(30))
        #expect(command.code == 75, "\(arguments)")
        #expect(command.error.contains("in use by another process"), "\(command.error)")
      }
      #expect(try stage.agent.stop() == 0)
    }

    @Test("skipped records reach the centre as one gap, reason skipped, and the rest as data")
    func skip() throws {
      var stage = try Self.stage()
      #expect(try stage.agent.stop() == 0)
      let rehearsal = try Command(
        "journal", "skip", stage.journal, "--to", "20", "--dry-run", "--json")
      #expect(rehearsal.output.contains("\"lost_records\":20"), "\(rehearsal)")
      let skip = try Command("journal", "skip", stage.journal, "--to", "20")
      #expect(skip.code == 0)
      #expect(skip.output.contains("20 records lost"), "\(skip.output)")
      #expect(try Command("journal", "skip", stage.journal, "--to", "61").code == 78)
      try stage.central.start()
      try stage.agent.start()
      let deliveries = stage.deliveries
      try stage.agent.wait(for: "the rest", within: .seconds(60)) {
        deliveries.faults(expecting: Array(Self.ids[20...])).isEmpty
      }
      let gaps = Set(deliveries.contents.gaps)
      #expect(gaps == [Gap(SequenceRange(Sequence(1), Sequence(20)), .skipped)])
      #expect(try stage.agent.stop() == 0)
    }

    @Test("a ring that was made larger, then smaller, then cut short and repaired loses nothing")
    func resizeAndRepair() throws {
      var stage = try Self.stage()
      #expect(try stage.agent.stop() == 0)
      let larger = try Command("journal", "resize", stage.journal, "--size", "32MiB", "--json")
      #expect(larger.output.contains("\"capacity_bytes\":\(32 << 20)"), "\(larger)")
      let smaller = try Command(
        "journal", "resize", "--config", stage.agent.configurationPath)
      #expect(smaller.code == 0 && smaller.output.contains("32MiB → 16MiB"), "\(smaller)")
      // The end of the file, where nothing is yet, goes.
      #expect(try Command(tool: "truncate", ["-s", "12M", stage.journal]).code == 0)
      stage.agent.file.journalLines = ["size: 16MiB"]
      try stage.agent.start()
      #expect(try stage.agent.waitForEnd() == 78)
      #expect(stage.agent.log.contains("was cut short"))
      let repair = try Command("journal", "repair", stage.journal)
      #expect(repair.code == 0)
      #expect(repair.output.contains("repaired; 60 records can be read"), "\(repair.output)")
      #expect(try Command(tool: "test", ["-s", stage.journal + ".before-repair"]).code == 0)
      try stage.central.start()
      try stage.agent.start()
      let deliveries = stage.deliveries
      try stage.agent.wait(for: "all deliveries", within: .seconds(60)) {
        deliveries.faults(expecting: Self.ids).isEmpty
      }
      #expect(deliveries.contents.gaps.isEmpty)
      // The ids came along: what the field sends again is recognised.
      try TestProducer(stage.field.endpoint).publish(
        Self.ids.map { .reading($0, byteCount: 2_000) })
      let agent = stage.agent
      try agent.wait(for: "the duplicates") {
        try agent.metric("penstock_ingest_duplicates_total") == 60
      }
      #expect(try stage.agent.stop() == 0)
      #expect(deliveries.faults(expecting: Self.ids).isEmpty)
    }

    @Test("journals are created ahead of the first start; a second time nothing happens")
    func create() throws {
      let stage = try Self.stage()
      let agent = try TestAgent(stage.agent.file)
      try agent.writeConfiguration()
      let previous = stage.journal
      let configuration = agent.configurationPath
      let create = try Command(
        "journal", "create", "--config", configuration, "--route", "telemetry", "--previous",
        previous, "--json")
      #expect(create.output.contains("\"created\":true"), "\(create)")
      let again = try Command("journal", "create", "--config", configuration)
      #expect(again.code == 0 && again.output.contains("there already"), "\(again)")
      #expect(try stage.agent.stop() == 0)
      try agent.start()
      try agent.wait(for: "the start") { agent.log.contains("journal open") }
      #expect(agent.log.contains("journal.created=false"))
      #expect(try agent.stop() == 0)
    }
  }
}
