import GatewayCore
package import Logging
package import Mosquitto
import Platform

/// Follows what a hub publishes: broker → `FollowerStore`, the PUBACK after the commit. On the
/// thread that calls `run`.
package struct FollowerLoop: ~Copyable {
  private static var groupMax: Int { 500 }

  private let connection: ConnectionOptions
  private let filter: String
  private let store: FollowerStore
  private let control: HubControl
  private let logger: Logger
  private let onApplied: (FollowerStore.Outcome) -> Bool
  private let handler = BatchHandler(byteCountMax: 16 << 20)
  private var backoff = Backoff()

  /// - Parameters:
  ///   - hub: the hub's id.
  ///   - onApplied: hears of each group after its commit; false ends the run.
  package init(
    connection: ConnectionOptions, hub: String, store: FollowerStore, control: HubControl,
    logger: Logger, onApplied: @escaping (FollowerStore.Outcome) -> Bool
  ) {
    self.connection = connection
    filter = CloudEvent.topic(hub: hub, asset: "+")
    self.store = store
    self.control = control
    self.logger = logger
    self.onApplied = onApplied
  }

  /// Until the control says stop, or `onApplied` does.
  package mutating func run() {
    while !control.isStopping {
      do {
        if try follow() { return }
        backoff.succeeded()
      } catch {
        let pause = backoff.next()
        logger.warning(
          "cannot follow, trying again",
          metadata: ["reason": "\(error)", "retry.seconds": "\(pause.seconds)"])
        if Poll.wait(socket: nil, wakeUp: control.consumerWakeUp, timeout: pause).wokenUp {
          control.consumerWakeUp.clear()
        }
      }
    }
  }

  /// One connection. True: enough.
  private mutating func follow() throws -> Bool {
    handler.forget()
    var client = MosquittoClient(options: connection, handler: handler, logger: logger)
    try client.connect(endpoint: 0)
    var mid: Int32?
    var lastMisc = Clock.monotonic()
    while !control.isStopping {
      guard let socket = client.socket else { throw client.gone() }
      let ready = Poll.wait(
        socket: socket, forWriting: client.wantsWrite && client.heldAcknowledgements == 0,
        wakeUp: control.consumerWakeUp, timeout: .milliseconds(500))
      if ready.wokenUp { control.consumerWakeUp.clear() }
      if ready.socketReadable { _ = try client.readUntilDry(limit: Self.groupMax) }
      if try settle(&client) { return true }
      if mid == nil, handler.acknowledgement != nil {
        mid = try client.subscribe([filter], quality: .atLeastOnce)
      }
      if let answer = handler.subscribeAnswer, answer.granted != [.grantedQoS1] {
        throw MosquittoError(
          .brokerRefused, reason: answer.granted.first, endpoint: nil,
          detail: "subscription to \(filter) refused or not at QoS 1")
      }
      if client.wantsWrite { try client.flush() }
      let now = Clock.monotonic()
      if now.since(lastMisc) >= .seconds(1) {
        lastMisc = now
        try client.misc()
      }
    }
    try client.disconnect()
    return true
  }

  private mutating func settle(_ client: inout MosquittoClient<BatchHandler>) throws -> Bool {
    let messages = handler.take()
    var events: [PublishedEvent] = []
    for message in messages {
      if let event = PublishedEvent(message.payload) {
        events.append(event)
      } else {
        logger.warning(
          "not an event that this version knows, left out",
          metadata: ["mqtt.topic": "\(message.topic)"])
      }
    }
    let outcome = events.isEmpty ? FollowerStore.Outcome() : try store.apply(events)
    if client.heldAcknowledgements > 0 {
      try client.releaseAcknowledgements(committed: client.heldAcknowledgements)
    }
    guard !events.isEmpty, !onApplied(outcome) else { return false }
    try client.disconnect()
    return true
  }
}
