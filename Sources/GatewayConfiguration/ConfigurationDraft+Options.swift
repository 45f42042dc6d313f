// The last step: sections without errors become the options of the stages. Names are put in their
// places, connections are derived from their brokers.

import Batching
import GatewayCore
import Ingest
import Mosquitto
import RingJournal
import Upstream

extension ConfigurationDraft {
  /// Only after all checks: a missing piece here is a bug of ours.
  func options() -> GatewayOptions {
    guard let gatewayID else { preconditionFailure("a checked configuration has a gateway id") }
    return GatewayOptions(
      gatewayID: gatewayID, site: site ?? gatewayID, dataDirectory: dataDirectory,
      dataDirectoryIsMount: dataDirectoryIsMount, brokers: brokers,
      routes: routes.map { options(of: $0) }, observability: observability, logging: logging)
  }

  private func options(of route: RouteSection) -> RouteOptions {
    var ingest = route.ingest
    ingest.connection = inbound(route)
    ingest.refusedPrefixes = route.refusedPrefixes
    var journal = route.journal
    journal.routeName = route.name
    journal.sinks = route.sinks.map {
      JournalSink(name: $0.options.name, required: $0.options.required, start: $0.options.start)
    }
    let isCommandRoute = isCommandRoute(route)
    let sinks = route.sinks.map { sink in
      var options = sink.options
      options.connection = outbound(route, sink)
      options.batch.keepsExpired = isCommandRoute && options.batch.format == .raw
      return options
    }
    journal.keepsExpired = sinks.contains { $0.batch.keepsExpired }
    return RouteOptions(
      name: route.name, source: route.from, ingest: ingest, journal: journal,
      journalPath: (dataDirectory == "/" ? "" : dataDirectory) + "/\(route.name).journal",
      sinks: sinks, sinkBrokers: route.sinks.map(\.broker), isCommandRoute: isCommandRoute)
  }

  private func inbound(_ route: RouteSection) -> ConnectionOptions {
    var connection = template(of: route.from)
    connection.clientID += ClientID.inbound(route: route.name)
    connection.reconnectSpread = isCommandRoute(route) ? spread(connection) : .zero
    connection.cleanStart = false
    // Above max_record a message becomes a dead letter, which is seen; above the announced maximum
    // the broker drops it without telling anyone. So the announced one is larger, and still bounds
    // what a broker can make us allocate.
    let announced = min(
      4 * route.ingest.recordByteCountMax.rawValue, SinkSection.packetRange.upperBound.rawValue)
    connection.maximumPacketByteCount =
      connection.protocolVersion == .v5 ? UInt32(max(announced, 65_536)) : nil
    return connection
  }

  /// What was sent lives in the journal, so the broker keeps no session; receive maximum
  /// and session expiry are for the inbound side.
  private func outbound(_ route: RouteSection, _ sink: SinkSection) -> ConnectionOptions {
    let template = template(of: sink.broker)
    var connection = template
    connection.clientID += ClientID.outbound(route: route.name, sink: sink.options.name)
    connection.reconnectSpread = isCommandRoute(route) ? .zero : spread(connection)
    connection.cleanStart = true
    connection.sessionExpiry = .zero
    connection.receiveMaximum =
      ConnectionOptions(endpoints: template.endpoints, clientID: "").receiveMaximum
    return connection
  }

  /// Of a connection to the centre, which all gateways share; the field broker is a gateway's own,
  /// and so is whatever listens on loopback.
  private func spread(_ connection: ConnectionOptions) -> Duration {
    connection.endpoints.allSatisfy(\.isLoopback) ? .zero : Self.centreSpread
  }

  /// A hundred gateways that lose the centre together return over at least half a minute, also when
  /// it is away for a while: with 40 s and an outage of 20 s, one time in twenty they did not.
  static let centreSpread = Duration.seconds(50)

  private func template(of brokerName: String) -> ConnectionOptions {
    guard let broker = broker(brokerName) else {
      preconditionFailure("a checked configuration names brokers that exist")
    }
    var connection = broker.connection
    if !connection.endpoints.contains(where: \.usesTLS) { connection.tls = nil }
    return connection
  }
}
