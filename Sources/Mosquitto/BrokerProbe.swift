import GatewayCore
package import Logging
package import Platform

/// Asks whether a broker would take us, and goes away again.
package enum BrokerProbe {
  private final class Answer: MosquittoHandler {
    func connected(_ acknowledgement: ConnectAcknowledgement) {}
    func disconnected(_ reason: ReasonCode?) {}
    func received(
      _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
    ) {}
    func subscribed(mid: Int32, granted: [ReasonCode]) {}
    func unsubscribed(mid: Int32) {}
    func published(mid: Int32, reason: ReasonCode) {}
  }

  /// Connects to one endpoint as `options` say, with a session that ends at once. Returns when
  /// CONNACK accepted. Blocks up to twice `connectTimeout` and the name resolution.
  ///
  /// - Parameter wakeUp: a signal ends the wait early, as a failure.
  package static func check(
    _ options: ConnectionOptions, endpoint: Int, wakeUp: WakeUp, logger: Logger
  ) throws(MosquittoError) {
    var options = options
    options.cleanStart = true
    options.sessionExpiry = .zero
    options.will = nil
    var client = MosquittoClient(options: options, handler: Answer(), logger: logger)
    try client.connect(endpoint: endpoint)
    while !client.isAccepted {
      if client.wantsWrite { try client.flush() }
      let ready = Poll.wait(
        socket: client.socket, forWriting: client.wantsWrite, wakeUp: wakeUp,
        timeout: .milliseconds(200))
      if ready.wokenUp {
        throw MosquittoError(.timedOut, endpoint: options.endpoints[endpoint], detail: "given up")
      }
      if ready.socketReadable { try client.read() }
      try client.misc()
    }
    try client.disconnect()
  }
}
