import GatewayConfiguration
import Logging
import Mosquitto
import ServiceLifecycle
import Upstream

/// What all connections of a broker share, whichever routes they belong to.
package struct BrokerCompanions: Sendable {
  private let failbacks: [String: Failback]
  let certificates: CertificateWatch

  init(brokers: [BrokerOptions], certificates: CertificateWatch) {
    self.certificates = certificates
    failbacks = Dictionary(
      uniqueKeysWithValues: brokers.compactMap { broker in
        broker.returnsAfter.map { _ in (broker.name, Failback()) }
      })
  }

  /// Nil where there is no first endpoint to go back to.
  func failback(of broker: String) -> Failback? { failbacks[broker] }

  /// What has to run beside the routes, and longer: the last word of a status topic comes when all
  /// is delivered.
  func services(
    of options: GatewayOptions, message: PresenceMessage, logger: Logger
  ) -> [any Service] {
    var services: [any Service] = [certificates]
    let destinations = Set(options.routes.flatMap(\.sinkBrokers))
    for broker in options.usedBrokers {
      if let topic = broker.statusTopic, destinations.contains(broker.name) {
        services.append(
          PresenceService(
            broker: broker, topic: topic, message: message, failback: failbacks[broker.name],
            logger: logger))
      }
      guard let interval = broker.returnsAfter, let failback = failbacks[broker.name] else {
        continue
      }
      services.append(
        FailbackService(broker: broker, interval: interval, failback: failback, logger: logger))
    }
    return services
  }
}

extension BrokerOptions {
  /// After how long away from the first endpoint it is asked; nil where that makes no sense.
  fileprivate var returnsAfter: Duration? {
    connection.endpoints.count > 1 ? connection.failbackInterval : nil
  }
}
