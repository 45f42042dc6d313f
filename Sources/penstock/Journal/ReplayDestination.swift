import ArgumentParser
import Batching
import GatewayConfiguration
import GatewayCore
import Mosquitto
import Upstream

/// Where a replay goes: to a broker that the command line names, or where a sink of the
/// configuration goes.
struct ReplayDestination: ParsableArguments {
  enum Format: String, ExpressibleByArgument, CaseIterable {
    case envelope
    case raw
  }

  @OptionGroup(title: "Broker") var broker: BrokerArguments

  @Option(
    help: ArgumentHelp(
      "The topic of the envelopes; with --format raw what is put in front of each record's own "
        + "topic, as replay/, or '' for nothing.", valueName: "topic"))
  var topic: String?

  @Option(
    help: ArgumentHelp(
      "Instead of --broker and --topic: where this sink of --config delivers to, as it does.",
      valueName: "name"))
  var sink: String?

  @Option(help: "envelope or raw; default: what the sink says, else envelope.")
  var format: Format?

  @Flag(help: "Go on where the broker says that nobody subscribes.")
  var acceptNoSubscriber = false

  func validate() throws {
    if (sink == nil) == (topic == nil) {
      throw ValidationError(
        "Where to? Give --broker with --topic, or --config with --sink; not both.")
    }
    if sink != nil && broker.isGiven {
      throw ValidationError("The broker of --sink is the configuration's: leave --broker away.")
    }
    guard let topic else { return }
    if topic.contains(where: { "+#\0".contains($0) }) || topic.isEmpty && format != .raw {
      throw ValidationError("A topic to publish to is not empty and has no +, # or NUL.")
    }
  }

  /// What the replay uses of a sink; a client id of its own, so that no gateway is thrown out.
  func options(_ location: JournalLocation) throws -> (sink: SinkOptions, site: String?) {
    var site: String?
    var options: SinkOptions
    if let topic {
      options = SinkOptions(
        name: "replay", connection: broker.connection(clientID: ""), topic: topic)
      options.topicMap = TopicMap(addPrefix: topic)
    } else {
      guard let config = location.config else {
        throw ValidationError("--sink needs --config: it is one of the configuration's sinks.")
      }
      let route = try location.configuredRoute(config)
      guard let found = route.sinks.first(where: { $0.name == sink }) else {
        let names = route.sinks.map(\.name).joined(separator: ", ")
        throw ValidationError("Route \(route.name) has no sink \(sink ?? ""); it has: \(names).")
      }
      options = found
      site = try load(config).options.site
    }
    options.connection.clientID = BrokerArguments.uniqueClientID("replay")
    options.connection.cleanStart = true
    options.connection.sessionExpiry = .zero
    if acceptNoSubscriber { options.acceptsNoSubscriber = true }
    switch format {
    case .envelope: options.batch.format = .cloudEventsBatch
    case .raw: options.batch.format = .raw
    case nil: break
    }
    guard options.batch.format != .raw || options.connection.protocolVersion == .v5 else {
      throw ValidationError(
        "MQTT 3.1.1 has no properties: raw records could not be marked as a replay there. Use "
          + "--format envelope.")
    }
    guard options.batch.format == .raw || !options.topic.isEmpty else {
      throw ValidationError("This sink has no topic for envelopes; use --format raw.")
    }
    return (options, site)
  }
}
