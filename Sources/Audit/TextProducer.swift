package import GatewayCore
import Logging
package import Mosquitto
package import Platform
import Synchronization

/// Publishes texts one after the other over one connection and says what became of each. One-shot:
/// a connection that is lost ends the run, and the error says how many were not acknowledged.
package struct TextProducer {
  package struct Options: Sendable {
    package var connection: ConnectionOptions
    package var topic: String
    package var quality = QualityOfService.atLeastOnce
    package var retain = false
    /// Un-acknowledged messages at a time.
    package var window = 100

    package init(connection: ConnectionOptions, topic: String) {
      self.connection = connection
      self.topic = topic
    }
  }

  /// What became of the `number`-th text (from 1). Success means "written" at QoS 0, "acknowledged"
  /// (PUBACK) at QoS 1 and "completed" (PUBCOMP) at QoS 2.
  package struct Outcome: Sendable, Hashable {
    package let number: Int
    package let reason: ReasonCode
    /// From handing it to the connection to the answer.
    package let delay: Duration
  }

  package let options: Options

  package init(options: Options) { self.options = options }

  /// Publishes everything the source gives until it ends and everything is answered. Blocks;
  /// reports on the calling thread.
  package func run(
    _ source: LineSource, report: (Outcome) -> Void
  ) throws(MosquittoError) {
    let handler = Handler(windowMax: options.window)
    var connection = options.connection
    connection.cleanStart = true
    connection.sessionExpiry = .zero
    var client = MosquittoClient(
      options: connection, handler: handler, logger: Logger(label: "penstock.publish"))
    try client.connect(endpoint: 0)
    var count = 0
    var isEnded = false
    var isDry = false
    while !isEnded || !handler.inFlight.isEmpty {
      while client.isAccepted && handler.inFlight.count < handler.window {
        guard let line = source.take(&isEnded) else {
          isDry = true
          break
        }
        count += 1
        do throws(MosquittoError) {
          let start = Clock.monotonic()
          let mid = try client.publish(
            topic: options.topic, payload: line.span, quality: options.quality,
            retain: options.retain)
          handler.inFlight[mid] = (count, start)
        } catch {
          guard error.code == .packetTooLarge else { throw error }
          report(Outcome(number: count, reason: .packetTooLarge, delay: .zero))
        }
      }
      if client.wantsWrite { try client.flush() }
      for outcome in handler.takeOutcomes() { report(outcome) }
      if isEnded && handler.inFlight.isEmpty { break }
      // What the flush answered (QoS 0) made room already: then look, but do not wait.
      let mustWait = isDry || !client.isAccepted || handler.inFlight.count == handler.window
      let ready = Poll.wait(
        socket: client.socket, forWriting: client.wantsWrite, wakeUp: source.news,
        timeout: mustWait ? .seconds(1) : .zero)
      if ready.wokenUp { source.news.clear() }
      isDry = isDry && !ready.wokenUp
      if ready.socketReadable { while try client.readUntilDry(limit: 1000) {} }
      try client.misc()
      for outcome in handler.takeOutcomes() { report(outcome) }
    }
    try client.disconnect()
  }

  private final class Handler: MosquittoHandler {
    let windowMax: Int
    var window = 0
    /// By mid: the number of the text, and when it was handed over.
    var inFlight: [Int32: (number: Int, start: MonotonicTime)] = [:]
    /// A QoS 0 text is answered inside `publish`, before its mid is known.
    private var early: [Int32: ReasonCode] = [:]
    private var outcomes: [Outcome] = []

    init(windowMax: Int) { self.windowMax = windowMax }

    func takeOutcomes() -> [Outcome] {
      for (mid, reason) in early {
        if let text = inFlight.removeValue(forKey: mid) { add(text, reason) }
      }
      early.removeAll()
      defer { outcomes.removeAll() }
      return outcomes
    }

    func connected(_ acknowledgement: ConnectAcknowledgement) {
      window = min(windowMax, Int(acknowledgement.receiveMaximum))
    }

    func published(mid: Int32, reason: ReasonCode) {
      if let text = inFlight.removeValue(forKey: mid) {
        add(text, reason)
      } else {
        early[mid] = reason
      }
    }

    private func add(_ text: (number: Int, start: MonotonicTime), _ reason: ReasonCode) {
      outcomes.append(
        Outcome(
          number: text.number, reason: reason, delay: Clock.monotonic().since(text.start)))
    }

    func disconnected(_ reason: ReasonCode?) {}
    func received(
      _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
    ) {}
    func subscribed(mid: Int32, granted: [ReasonCode]) {}
    func unsubscribed(mid: Int32) {}
  }
}
