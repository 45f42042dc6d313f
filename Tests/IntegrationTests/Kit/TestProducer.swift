import GatewayCore
import Logging
import Mosquitto
import Platform
import TestSupport

/// Publishes at QoS 1 and knows what the broker said to each message.
final class TestProducer {
  private final class Handler: MosquittoHandler {
    var isAccepted = false
    var answers: [Int32: ReasonCode] = [:]

    func connected(_ acknowledgement: ConnectAcknowledgement) {
      isAccepted = !acknowledgement.reason.isFailure
    }
    func published(mid: Int32, reason: ReasonCode) { answers[mid] = reason }
    func disconnected(_ reason: ReasonCode?) {}
    func received(
      _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
    ) {}
    func subscribed(mid: Int32, granted: [ReasonCode]) {}
    func unsubscribed(mid: Int32) {}
  }

  /// One message to send.
  struct Message {
    var topic: String
    var payload: [UInt8]
    var quality = QualityOfService.atLeastOnce
    var isRetained = false
    /// In wire encoding.
    var properties: [UInt8] = []

    init(_ topic: String, _ payload: [UInt8]) {
      self.topic = topic
      self.payload = payload
    }

    /// A reading with an id, padded to about `byteCount`.
    static func reading(_ id: String, pump: String = "p1", byteCount: Int = 0) -> Message {
      let padding = String(repeating: "x", count: byteCount)
      let text = "{\"messageId\":\"\(id)\",\"value\":1,\"note\":\"\(padding)\"}"
      return Message("pumps/\(pump)/metrics", Array(text.utf8))
    }
  }

  private let handler = Handler()
  private var client: MosquittoClient<Handler>

  /// With a client id of somebody else it ends that one's session.
  init(
    _ endpoint: BrokerEndpoint, clientID: String = "producer",
    protocolVersion: ProtocolVersion = .v5
  ) throws {
    var options = ConnectionOptions(endpoints: [endpoint], clientID: clientID)
    options.protocolVersion = protocolVersion
    options.cleanStart = true
    options.sessionExpiry = .zero
    client = MosquittoClient(
      options: options, handler: handler, logger: Logger(label: "penstock.test"))
    try client.connect(endpoint: 0)
    try turn(until: { $0.isAccepted })
  }

  /// Publishes all of them, at most `window` un-acknowledged; the broker's answers, in order.
  @discardableResult
  func publish(_ messages: [Message], window: Int = 100) throws -> [ReasonCode] {
    handler.answers = [:]
    var mids: [Int32] = []
    for message in messages {
      mids.append(
        try client.publish(
          topic: message.topic, payload: message.payload.span, quality: message.quality,
          retain: message.isRetained,
          properties: PublishProperties(wireEncoding: message.properties)))
      let sent = mids.count
      try turn(until: { sent - $0.answers.count < window })
    }
    let sent = mids.count
    try turn(until: { $0.answers.count == sent })
    return mids.compactMap { handler.answers[$0] }
  }

  private func turn(until condition: (Handler) -> Bool) throws {
    let never = try WakeUp()
    let deadline = Deadline(in: .seconds(30))
    while true {
      if client.wantsWrite { try client.flush() }
      if condition(handler) { return }
      if deadline.isOver { throw TestFailure("the broker does not answer the producer") }
      let ready = Poll.wait(
        socket: client.socket, forWriting: client.wantsWrite, wakeUp: never,
        timeout: .milliseconds(200))
      if ready.socketReadable { while try client.readUntilDry(limit: 1000) {} }
    }
  }
}
