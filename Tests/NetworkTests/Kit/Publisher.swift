import Envelope
import GatewayCore
import Logging
import Mosquitto
import Platform
import Synchronization
import TestSupport

/// Publishes at QoS 1 to a real broker and waits for its PUBACKs.
struct Publisher: ~Copyable {
  private final class Handler: MosquittoHandler {
    var isAccepted = false
    var answerCount = 0

    func connected(_ acknowledgement: ConnectAcknowledgement) {
      isAccepted = !acknowledgement.reason.isFailure
    }
    func published(mid: Int32, reason: ReasonCode) { answerCount += 1 }
    func disconnected(_ reason: ReasonCode?) {}
    func received(
      _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
    ) {}
    func subscribed(mid: Int32, granted: [ReasonCode]) {}
    func unsubscribed(mid: Int32) {}
  }

  private let handler = Handler()
  private var client: MosquittoClient<Handler>

  init(port: UInt16) throws {
    var options = ConnectionOptions(
      endpoints: [BrokerEndpoint(host: "127.0.0.1", port: port)], clientID: "publisher")
    options.cleanStart = true
    options.sessionExpiry = .zero
    client = MosquittoClient(options: options, handler: handler, logger: silentLogger)
    try client.connect(endpoint: 0)
    try turn { $0.isAccepted }
  }

  mutating func publish(_ messages: [FieldRole.Message], window: Int = 100) throws {
    handler.answerCount = 0
    for (index, message) in messages.enumerated() {
      _ = try client.publish(
        topic: message.topic, payload: message.payload.span, quality: .atLeastOnce)
      try turn { index + 1 - $0.answerCount < window }
    }
    try turn { $0.answerCount == messages.count }
  }

  private mutating func turn(until condition: (Handler) -> Bool) throws {
    let never = try WakeUp()
    let deadline = Deadline(in: .seconds(30))
    while true {
      if client.wantsWrite { try client.flush() }
      if condition(handler) { return }
      if deadline.isOver { throw TestFailure("the broker does not answer the publisher") }
      let ready = Poll.wait(
        socket: client.socket, forWriting: client.wantsWrite, wakeUp: never,
        timeout: .milliseconds(200))
      if ready.socketReadable { while try client.readUntilDry(limit: 1000) {} }
    }
  }
}

/// The ids that came to a scripted centre.
final class Received: Sendable {
  private let state = Mutex<(ids: Set<String>, eventCount: Int)>(([], 0))

  func take(_ publish: MQTTPacket.Publish) {
    guard let envelope = try? EnvelopeDecoder.decode(publish.payload.span) else { return }
    state.withLock { state in
      state.eventCount += envelope.events.count
      for event in envelope.events { state.ids.insert(event.id) }
    }
  }

  var ids: Set<String> { state.withLock { $0.ids } }
  var eventCount: Int { state.withLock { $0.eventCount } }
}
