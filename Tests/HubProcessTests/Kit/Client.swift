import GatewayCore
import Logging
import Mosquitto
import Platform
import TestSupport

/// A client of the central broker: publishes, listens, and remembers everything.
final class Client {
  struct Message {
    let topic: String
    let payload: [UInt8]
    let isRetained: Bool
  }

  private final class Handler: MosquittoHandler {
    var isAccepted = false
    var isSubscribed = false
    var answers = 0
    var messages: [Message] = []

    func connected(_ acknowledgement: ConnectAcknowledgement) {
      isAccepted = !acknowledgement.reason.isFailure
    }
    func published(mid: Int32, reason: ReasonCode) { answers += 1 }
    func disconnected(_ reason: ReasonCode?) {}
    func received(
      _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
    ) {
      var bytes: [UInt8] = []
      bytes.append(payload)
      messages.append(
        Message(
          topic: String(decoding: topic), payload: bytes, isRetained: header.isRetained))
    }
    func subscribed(mid: Int32, granted: [ReasonCode]) { isSubscribed = true }
    func unsubscribed(mid: Int32) {}
  }

  private let handler = Handler()
  private var client: MosquittoClient<Handler>

  /// - Parameter filter: what to listen to; the session goes on over connections of the same id.
  init(_ endpoint: BrokerEndpoint, id: String, filter: String? = nil) throws {
    var options = ConnectionOptions(endpoints: [endpoint], clientID: id)
    options.cleanStart = filter == nil
    options.sessionExpiry = filter == nil ? .zero : .seconds(3600)
    client = MosquittoClient(
      options: options, handler: handler, logger: Logger(label: "penstock.test"))
    try client.connect(endpoint: 0)
    try run(for: "the connection") { handler.isAccepted }
    if let filter {
      try settle()
      _ = try client.subscribe([filter], quality: .atLeastOnce)
      try run(for: "the subscription") { handler.isSubscribed }
    }
  }

  /// Everything received so far.
  var messages: [Message] { handler.messages }

  /// Publishes at QoS 1 and waits for all PUBACKs, at most `window` at a time.
  func publish(_ messages: [(topic: String, payload: [UInt8])], window: Int = 20) throws {
    handler.answers = 0
    for (index, message) in messages.enumerated() {
      try settle()
      _ = try client.publish(topic: message.topic, payload: message.payload.span)
      try run(for: "PUBACKs") { handler.answers > index - window }
    }
    try run(for: "all PUBACKs") { handler.answers == messages.count }
  }

  func run(
    for what: String, within limit: Duration = .seconds(60), until condition: () throws -> Bool
  ) throws {
    let never = try WakeUp()
    let deadline = Deadline(in: limit)
    while true {
      try settle()
      if client.wantsWrite { try client.flush() }
      if try condition() { return }
      if deadline.isOver { throw TestFailure("the client waited \(limit) in vain for: \(what)") }
      let ready = Poll.wait(
        socket: client.socket, forWriting: client.wantsWrite, wakeUp: never,
        timeout: .milliseconds(50))
      if ready.socketReadable { while try client.readUntilDry(limit: 1000) {} }
      try settle()
      try client.misc()
    }
  }

  private func settle() throws {
    let held = client.heldAcknowledgements
    if held > 0 { try client.releaseAcknowledgements(committed: held) }
  }
}
