package import Ingest
package import Mosquitto
package import Observability
package import RingJournal
package import Upstream

/// Everything one `penstock run` needs to know. Consistent: what the configuration module hands out
/// has passed every cross check.
package struct GatewayOptions: Sendable, Hashable {
  package var gatewayID: String
  /// The source of events; two redundant gateways share one. Default: the id.
  package var site: String
  package var dataDirectory: String = GatewayOptions.dataDirectoryDefault
  /// Refuse to run unless `dataDirectory` is a mount point: the card is in.
  package var dataDirectoryIsMount: Bool = false
  /// As in the file, also those that no route uses.
  package var brokers: [BrokerOptions]
  /// At least one.
  package var routes: [RouteOptions]
  package var observability: ObservabilityOptions
  package var logging: LoggingOptions

  package static let dataDirectoryDefault = "/var/lib/penstock"
  package static let brokersMax = 16
  package static let routesMax = 32
}

/// One broker as written in the file: what the connections to it have in common.
package struct BrokerOptions: Sendable, Hashable {
  package var name: String
  /// The template of its connections; `clientID` is the part in front of the route's name.
  package var connection: ConnectionOptions
  /// Allows `mqtt://` to another machine, where everything can be read and changed on the way.
  package var insecurePlaintext: Bool = false
  /// Where the gateway's status is kept if a destination uses this broker; nil keeps none.
  package var statusTopic: String?
  /// Where the password comes from when it comes from the environment. Printed instead of it.
  package var passwordVariable: String?
  /// The way to it, for the sinks that deliver to it.
  package var link: LinkOptions = LinkOptions()

  package static let endpointsMax = 8
}

/// One way from a broker through a journal to its sinks.
package struct RouteOptions: Sendable, Hashable {
  package var name: String
  /// The broker it reads from.
  package var source: String
  package var ingest: IngestOptions
  package var journal: JournalOptions
  /// `<data directory>/<route>.journal`.
  package var journalPath: String
  /// 1 to `Limits.sinksPerRouteMax`, in the order of the file and of `journal.sinks`.
  package var sinks: [SinkOptions]
  /// The broker of each sink, in the order of `sinks`.
  package var sinkBrokers: [String]
  /// It reads from a broker that another route delivers batches to: what comes back are commands.
  package var isCommandRoute: Bool

  /// `<data directory>/<route>.dead`.
  package var deadLetterPath: String {
    String(journalPath.dropLast(".journal".count)) + ".dead"
  }

  package static let subscriptionsMax = 64

  /// Whether some message could come by both: they read from one broker, and filters overlap.
  package func readsSame(as other: RouteOptions) -> Bool {
    source == other.source && reads(anyOf: other.ingest.subscriptions)
  }

  /// Whether some topic matches one of its filters and one of these.
  package func reads(anyOf filters: [String]) -> Bool {
    ingest.subscriptions.contains { own in
      filters.contains {
        TopicPattern.overlap(TopicPattern.filter(own), TopicPattern.filter($0))
      }
    }
  }
}

/// The least important line that is written.
package enum LogLevel: String, Sendable, Hashable, CaseIterable {
  case trace, debug, info, notice, warning, error, critical
}

package struct LoggingOptions: Sendable, Hashable {
  package var level: LogLevel = .info
  package var format: LogFormat = .text

  package init() {}
}
