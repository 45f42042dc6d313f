/// A configuration file in parts: what a test does not say is what most tests want. The lines of a
/// part go into its section as they are.
struct GatewayFile {
  var gatewayID = "gw-it"
  var field: String
  var central: String
  /// Of the broker sections.
  var fieldLines: [String] = []
  var centralLines: [String] = []
  /// Further brokers.
  var brokerLines: [String] = []
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
  /// Further destinations and routes, as lines after the first destination.
  var lastLines: [String] = []
  /// Whole sections behind the usual ones, indented as their section is at its top.
  var moreBrokerLines: [String] = []
  var moreSinkLines: [String] = []
  var moreRouteLines: [String] = []
  /// More routes, each beginning with `- name: …`, indented as they are to be under `routes`.
  var moreRoutes: [String] = []
  /// Whole lines behind everything.
  var sectionLines: [String] = []

  init(fieldPort: UInt16, centralPort: UInt16) {
    field = "mqtt://127.0.0.1:\(fieldPort)"
    central = "mqtt://127.0.0.1:\(centralPort)"
  }

  /// The client id of the session at the field broker.
  var inboundClientID: String { "penstock-\(gatewayID)-telemetry-in" }
  /// The topic of the batches.
  var upstreamTopic: String { "penstock/v1/\(gatewayID)/telemetry" }

  /// A second route to the same destination.
  mutating func addRoute(_ name: String, filter: String) {
    lastLines += [
      "  - name: \(name)", "    from: field", "    subscribe: [\"\(filter)\"]",
      "    journal: {size: 16MiB}",
      "    to: [{name: central, broker: central, batch: {max_delay: 50ms}}]",
    ]
  }

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
    lines += brokerLines
    lines += moreBrokerLines.map { "  " + $0 }
    lines += [
      "routes:", "  - name: \(routeName)", "    from: field",
      "    subscribe: [\(filters.map { "\"\($0)\"" }.joined(separator: ", "))]",
    ]
    lines += routeLines.map { "    " + $0 }
    lines += ["    journal:"] + journalLines.map { "      " + $0 }
    lines += ["    to:", "      - name: central", "        broker: central"]
    lines += sinkLines.map { "        " + $0 }
    lines += lastLines
    lines += moreSinkLines.map { "      " + $0 }
    lines += moreRouteLines.map { "  " + $0 }
    lines += moreRoutes.map { "  " + $0 }
    lines += sectionLines
    return lines.joined(separator: "\n") + "\n"
  }
}
