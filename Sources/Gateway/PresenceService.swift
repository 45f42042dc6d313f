import GatewayConfiguration
import GatewayCore
import Logging
import Mosquitto
import Platform
import ServiceLifecycle
import Upstream

/// Keeps the status topic of one broker, on a thread of its own.
struct PresenceService: Service {
  let broker: BrokerOptions
  let topic: String
  let message: PresenceMessage
  let recall: Recall
  let logger: Logger

  func run() async throws {
    let control = try PresenceControl()
    try await withTaskCancellationHandler {
      try await withGracefulShutdownHandler {
        try await Thread.run(name: "st:\(broker.name)") {
          var loop = PresenceLoop(
            broker: broker.name, topic: topic, connection: connection, message: message,
            control: control, recall: recall, logger: logger)
          loop.run()
        }
      } onGracefulShutdown: {
        control.stop()
      }
    } onCancel: {
      control.stop()
    }
  }

  private var connection: ConnectionOptions {
    var connection = broker.connection
    connection.clientID += ClientID.status(broker: broker.name)
    connection.cleanStart = true
    connection.sessionExpiry = .zero
    return connection
  }
}
