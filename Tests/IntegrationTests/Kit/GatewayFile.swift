/// A configuration file in parts: what a test does not say is what most tests want. The lines of a
/// part go into its section as they are.
struct GatewayFile {
  var gatewayID = "gw-it"
  var field: String
  var central: String
  /// Of the broker sections.
  var fieldLines: [String] = []
  var centralLines: [String] = []
  /// `status_topic` of the central broker; nil leaves the default. Most tests look at the sink's
  /// connection and want no other.
  var statusTopic: String? = "none"
  var routeName = "telemetry"
  var filters = ["pumps/+/metrics"]
  /// Of the route, beside journal and destination.
  var routeLines: [String] = []
  /// Of `journal`.
  var journalLines = ["size: 16MiB"]
  /// Of the destination.
  var sinkLines = ["batch: {max_delay: 50ms}"]
  /// Whole lines with their indentation: behind the brokers, the destinations and the routes.
  var moreBrokers: [String] = []
  var moreSinks: [String] = []
  var moreRoutes: [String] = []
  var loggingLine = ""

  init(fieldPort: UInt16, centralPort: UInt16) {
    field = "mqtt://127.0.0.1:\(fieldPort)"
    central = "mqtt://127.0.0.1:\(centralPort)"
  }

  /// The client id of the session at the field broker.
  var inboundClientID: String { "penstock-\(gatewayID)-telemetry-in" }
  /// The topic of the batches.
  var upstreamTopic: String { "penstock/v1/\(gatewayID)/telemetry" }

  func text(dataDirectory: String, observabilityPort: UInt16) -> String {
    var lines = [
      "gateway: {id: \(gatewayID), data_directory: \"\(dataDirectory)\"}",
      "observability: {listen: \"127.0.0.1:\(observabilityPort)\"}",
      "brokers:",
      "  field:", "    url: \(field)",
    ]
    lines += fieldLines.map { "    " + $0 }
    lines += ["  central:", "    url: \(central)"] + centralLines.map { "    " + $0 }
    if let statusTopic { lines.append("    status_topic: \(statusTopic)") }
    lines += moreBrokers
    lines += [
      "routes:", "  - name: \(routeName)", "    from: field",
      "    subscribe: [\(filters.map { "\"\($0)\"" }.joined(separator: ", "))]",
    ]
    lines += routeLines.map { "    " + $0 }
    lines += ["    journal:"] + journalLines.map { "      " + $0 }
    lines += ["    to:", "      - name: central", "        broker: central"]
    lines += sinkLines.map { "        " + $0 } + moreSinks + moreRoutes + [loggingLine]
    return lines.joined(separator: "\n") + "\n"
  }
}
