import ArgumentParser
import GatewayConfiguration
import GatewayCore
import Hub
import Logging
import Mosquitto
import Observability
import Platform

struct FollowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "follow",
    abstract: "Follow what a hub publishes, with a state of one's own.",
    discussion: """
      A second service, as it would be written: it owns no asset, takes the hub's events into its \
      own small database, knows repeated ones by their publication, and acknowledges after its own \
      commit. Prints each event as it is applied; --state prints what is known and ends.
      """)

  @Option(name: [.short, .long], help: "The hub's configuration file: its id and broker.")
  var config: String
  @Option(help: "The follower's own database.") var state: String
  @Option(help: "Names the follower's session at the broker.") var name = "follower"
  @Option(help: "End after so many events.") var count: Int?
  @Flag(help: "Print the known assets and what is missing, and end.") var show = false
  @Flag(help: "One JSON object a line.") var json = false

  func run() throws {
    let settings = try load(config).settings
    let store = try FollowerStore(path: state)
    if show { return try show(store, hub: settings.hubID) }
    LogOptions(level: settings.logging.level.level, format: settings.logging.format).bootstrap()
    var connection = settings.broker.connection
    connection.clientID = "penstock-\(name)"
    let control = try HubControl()
    try TerminationSignal.onFirst { control.stop() }
    var left = count ?? .max
    let json = self.json
    var loop = FollowerLoop(
      connection: connection, hub: settings.hubID, store: store, control: control,
      logger: Logger(label: "penstock-hub")
    ) { outcome in
      for event in outcome.applied where left > 0 {
        left -= 1
        Self.show(event, json: json)
      }
      return left > 0
    }
    loop.run()
  }

  private static func show(_ event: HubEvent, json: Bool) {
    guard json else {
      return Console.line(
        "\(event.time) \(event.asset) v\(event.version) \(event.type.shortName) "
          + String(decoding: event.payload.prefix(160), as: UTF8.self))
    }
    JSONLine { line in
      line.put("id", event.messageID)
      line.put("asset", event.asset)
      line.put("version", event.version)
      line.put("type", event.type.name)
      line.put("time", event.time.description)
      line.put("data", json: event.payload)
    }.show()
  }

  private func show(_ store: FollowerStore, hub: String) throws {
    var table = Table("ASSET", ">VERSION", "REGISTERED", "RETIRED", "ALERTS", "MAINTENANCE")
    for asset in try store.assets(of: hub) {
      if json {
        JSONLine { line in
          line.put("id", asset.id)
          line.put("version", asset.version)
          line.put("registered", asset.isRegistered)
          line.put("retired", asset.isRetired)
          line.put("facts", json: asset.facts)
          line.put("alerts", asset.alerts)
          line.put("maintenance", asset.maintenance)
        }.show()
      } else {
        table.add(
          asset.id, "\(asset.version)", asset.isRegistered ? "yes" : "no",
          asset.isRetired ? "yes" : "no", asset.alerts.joined(separator: ","),
          asset.maintenance ?? "-")
      }
    }
    guard !json else { return }
    table.show()
    let taken = try store.publications(of: hub)
    let holes = taken.holes.map(\.description).joined(separator: ", ")
    Console.line(
      "publications \(taken.text.isEmpty ? "none" : taken.text)"
        + (holes.isEmpty ? ", none missing" : ", missing \(holes)"))
  }
}
