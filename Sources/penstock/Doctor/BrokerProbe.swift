import GatewayCore
import Logging
import Mosquitto
import Platform

/// A look at one broker under a client id that nobody uses, which leaves nothing behind: the
/// session ends with the connection.
struct BrokerProbe {
  private let options: ConnectionOptions
  private static let answerTimeout: Duration = .seconds(10)

  /// - Parameter options: those of the connection that is examined.
  init(_ options: ConnectionOptions) {
    var options = options
    options.clientID = BrokerArguments.uniqueClientID("doctor")
    options.cleanStart = true
    self.options = options
  }

  /// What the broker says to a connection that asks for all that is configured, and how long it
  /// took.
  func connect(
    endpoint: Int
  ) throws(MosquittoError) -> (acknowledgement: ConnectAcknowledgement, duration: Duration) {
    let start = Clock.monotonic()
    let answers = Answers()
    var client = MosquittoClient(
      options: options, handler: answers, logger: Logger(label: "penstock.doctor"))
    try client.connect(endpoint: endpoint)
    let acknowledgement = try wait(&client) { answers.acknowledgement }
    let duration = Clock.monotonic().since(start)
    try client.disconnectEndingSession()
    return (acknowledgement, duration)
  }

  /// What the broker answers to each subscription. What it sends for them is not acknowledged and
  /// goes with the session.
  func subscribe(
    _ filters: [String], endpoint: Int
  ) throws(MosquittoError) -> [ReasonCode] {
    var options = options
    options.sessionExpiry = .zero
    let answers = Answers()
    var client = MosquittoClient(
      options: options, handler: answers, logger: Logger(label: "penstock.doctor"))
    try client.connect(endpoint: endpoint)
    _ = try wait(&client) { answers.acknowledgement }
    let mid = try client.subscribe(filters, quality: .atLeastOnce)
    try client.flush()
    return try wait(&client) { answers.granted.flatMap { $0.mid == mid ? $0.codes : nil } }
  }

  private func wait<Value>(
    _ client: inout MosquittoClient<Answers>, for value: () -> Value?
  ) throws(MosquittoError) -> Value {
    let deadline = Clock.monotonic() + Self.answerTimeout
    let never: WakeUp
    do throws(SystemError) {
      never = try WakeUp()
    } catch {
      throw MosquittoError(
        .outOfMemory, systemCode: error.code, endpoint: nil, detail: error.description)
    }
    while true {
      if let value = value() { return value }
      let rest = deadline.since(Clock.monotonic())
      guard rest > .zero else {
        throw MosquittoError(
          .timedOut, endpoint: nil, detail: "no answer within \(Self.answerTimeout)")
      }
      // What is held is never released here, and then nothing may be written.
      let mayWrite = client.heldAcknowledgements == 0
      if client.wantsWrite && mayWrite { try client.flush() }
      let ready = Poll.wait(
        socket: client.socket, forWriting: client.wantsWrite && mayWrite, wakeUp: never,
        timeout: min(rest, .seconds(1)))
      if ready.socketReadable { try client.read() }
    }
  }

  private final class Answers: MosquittoHandler {
    private(set) var acknowledgement: ConnectAcknowledgement?
    private(set) var granted: (mid: Int32, codes: [ReasonCode])?

    func connected(_ acknowledgement: ConnectAcknowledgement) {
      if !acknowledgement.reason.isFailure { self.acknowledgement = acknowledgement }
    }
    func subscribed(mid: Int32, granted: [ReasonCode]) { self.granted = (mid, granted) }
    func published(mid: Int32, reason: ReasonCode) {}
    func disconnected(_ reason: ReasonCode?) {}
    func received(
      _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
    ) {}
    func unsubscribed(mid: Int32) {}
  }
}
