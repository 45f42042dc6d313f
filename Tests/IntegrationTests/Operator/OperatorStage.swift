import Audit
import Control
import Platform
import TestSupport

/// Two brokers, a connected agent between them, and an observer at the centre.
final class OperatorStage {
  var field: BrokerProcess
  var central: BrokerProcess
  let agent: TestAgent
  let deliveries: Deliveries

  /// - Parameter connected: what to wait for; default: that all is well.
  init(
    _ change: (inout GatewayFile) -> Void = { _ in },
    connected: (TestAgent) throws -> Bool = { try $0.status() == "ok" }
  ) throws {
    var options = BrokerOptions()
    options.persistence = true
    field = try BrokerProcess(name: "field")
    central = try BrokerProcess(name: "central", options: options)
    try field.start()
    try central.start()
    var file = GatewayFile(fieldPort: field.port, centralPort: central.port)
    change(&file)
    agent = try TestAgent(file)
    deliveries = try Deliveries(central.endpoint, filter: "penstock/v1/#")
    try agent.start()
    try agent.wait(for: "the agent to be ready") { try connected(agent) }
  }
}

extension TestAgent {
  /// `penstock` with this agent's configuration.
  func command(_ arguments: String..., within limit: Duration = .seconds(30)) throws -> Command {
    try Command(
      executable: Command.penstock, arguments: arguments + ["--config", configurationPath],
      environment: [:], within: limit)
  }

  /// What `status --json` says.
  func statusObject(_ arguments: String...) throws -> JSONValue {
    let command = try Command(
      executable: Command.penstock,
      arguments: ["status", "--json", "--config", configurationPath] + arguments,
      environment: [:], within: .seconds(30))
    let bytes = Array(command.output.utf8)
    guard let json = JSONValue(bytes.span) else {
      throw TestFailure("no JSON: \(command.output)\(command.error)")
    }
    return json
  }

  /// One route of it.
  func routeObject(_ name: String = "telemetry") throws -> JSONValue? {
    try statusObject()["routes"]?.elements.first { $0["name"]?.string == name }
  }
}
