import GatewayConfiguration
import Logging
import Mosquitto
import Synchronization
import Upstream

/// What all connections of a broker share, whichever routes they belong to, for as long as the
/// process runs. Any thread, apart from `adopt`.
package final class BrokerCompanions: Sendable {
  let certificates: CertificateWatch
  private let linkDirectory: String?
  private let logger: Logger
  private let recalls = Mutex<[String: Recall]>([:])
  private let links = Mutex<[String: BrokerLink]>([:])

  /// - Parameter links: where the accounts of data budgets are kept; nil keeps them in memory.
  init(certificates: CertificateWatch, links: String?, logger: Logger) {
    self.certificates = certificates
    linkDirectory = links
    self.logger = logger
  }

  /// Of the broker of this name.
  func recall(of broker: String) -> Recall {
    recalls.withLock { recalls in
      if let known = recalls[broker] { return known }
      let new = Recall()
      recalls[broker] = new
      return new
    }
  }

  /// To the broker of this name; one that holds up nothing where `adopt` knew of no sink.
  func link(of broker: String) -> BrokerLink {
    links.withLock { $0[broker] } ?? .unlimited()
  }

  /// The links of the brokers that something is delivered to are as `options` say, those in use,
  /// too, without an end of their connections. Reads the accounts of data budgets.
  func adopt(_ options: GatewayOptions) {
    var priorities: [String: [Int]] = [:]
    for route in options.routes {
      for (sink, broker) in zip(route.sinks, route.sinkBrokers) {
        priorities[broker, default: []].append(sink.priority)
      }
    }
    var known = links.withLock { $0 }
    // A route that left the configuration delivers its rest over the link that it has.
    known = known.filter { priorities[$0.key] != nil || $0.value.isInUse }
    for broker in options.brokers {
      guard let priorities = priorities[broker.name] else { continue }
      if let link = known[broker.name] {
        link.adopt(broker.link, priorities: priorities)
      } else {
        known[broker.name] = BrokerLink(
          broker: broker.name, options: broker.link, priorities: priorities,
          directory: linkDirectory, logger: logger)
      }
    }
    links.withLock { $0 = known }
  }
}
