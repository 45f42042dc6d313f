import GatewayCore
import Logging
import Mosquitto
import Platform
import Upstream

/// Why a replay ended before its time.
enum ReplayEnd: Error {
  case broker(MosquittoError)
  case refused(SequenceRange, ReasonCode)
  case interrupted
}

/// What the broker has acknowledged, in order and without a hole.
struct ReplayAccepted {
  var messageCount = 0
  var recordCount = 0
  var byteCount = 0
  /// `.none` before the first message.
  var through = Sequence.none
}

/// Publishes at QoS 1 over one connection, no faster than told, and counts what was acknowledged.
/// A connection that is lost ends it: the operator goes on from `accepted.through`.
struct ReplayPublisher: ~Copyable {
  private struct Sent {
    let mid: Int32
    let sequences: SequenceRange
    let recordCount: Int
    let byteCount: Int
    var answer: ReasonCode?
  }

  private static let turn: Duration = .seconds(1)
  /// Without an answer and without a byte that leaves for so long, the broker is gone.
  private static let answerTimeout: Duration = .seconds(30)

  private let sink: SinkOptions
  private let rate: ReplayRate?
  private let interruption: WakeUp
  private let answers = Answers()
  private var client: MosquittoClient<Answers>
  /// In the order of publishing.
  private var sent: [Sent] = []
  private var due = Clock.monotonic()
  private var lastMisc = Clock.monotonic()
  private var lastProgress = Clock.monotonic()
  private var unsentByteCount = 0
  private var isInterrupted = false
  private(set) var accepted = ReplayAccepted()

  /// - Parameter interruption: signalled when the operator wants it to end.
  init(_ sink: SinkOptions, rate: ReplayRate?, interruption: WakeUp) {
    self.sink = sink
    self.rate = rate
    self.interruption = interruption
    client = MosquittoClient(
      options: sink.connection, handler: answers, logger: Logger(label: "penstock.replay"))
  }

  /// Connects to the first broker of the list that accepts.
  /// - Returns: the largest packet it takes; nil when it did not say.
  mutating func connect() throws(ReplayEnd) -> UInt32? {
    var failure: MosquittoError?
    for (place, endpoint) in sink.connection.endpoints.enumerated() {
      do throws(MosquittoError) {
        try connect(endpoint: place)
      } catch {
        failure = error.naming(endpoint)
        continue
      }
      if isInterrupted { throw .interrupted }
      return answers.maximumPacketByteCount
    }
    throw .broker(
      failure ?? MosquittoError(.notConnected, endpoint: nil, detail: "there is no broker to try"))
  }

  private mutating func connect(endpoint place: Int) throws(MosquittoError) {
    try client.connect(endpoint: place)
    while !client.isAccepted && !isInterrupted { try wait(atMost: Self.turn) }
    guard answers.maximumQualityOfService >= .atLeastOnce else {
      throw MosquittoError(
        .brokerRefused, reason: .qualityOfServiceNotSupported, endpoint: nil,
        detail: "the broker takes QoS 0 only, which acknowledges nothing")
    }
  }

  /// Publishes one message, when it is time and the window has room for it.
  mutating func send(_ message: ReplayMessage) throws(ReplayEnd) {
    while true {
      if isInterrupted { throw .interrupted }
      let early = due.since(Clock.monotonic())
      let isFull = sent.count >= min(sink.inFlightMax, answers.receiveMaximum)
      guard isFull || early > .zero else { break }
      try turn(atMost: isFull ? Self.turn : min(early, Self.turn))
    }
    if let rate {
      let took = rate.duration(
        recordCount: message.recordCount, byteCount: message.payload.count)
      due = max(due, Clock.monotonic()) + took
    }
    if sent.isEmpty { lastProgress = Clock.monotonic() }
    do throws(MosquittoError) {
      let mid = try client.publish(
        topic: message.topic, payload: message.payload.span,
        properties: PublishProperties(wireEncoding: message.properties))
      sent.append(
        Sent(
          mid: mid, sequences: message.sequences, recordCount: message.recordCount,
          byteCount: message.payload.count))
    } catch {
      switch error.code {
      case .packetTooLarge: throw .refused(message.sequences, .packetTooLarge)
      case .invalidArgument: throw .refused(message.sequences, .topicNameInvalid)
      default: throw .broker(error)
      }
    }
    try turn(atMost: .zero)
  }

  /// Waits for the answers that are missing.
  mutating func settle() throws(ReplayEnd) {
    while !sent.isEmpty { try turn(atMost: Self.turn) }
  }

  mutating func disconnect() {
    // Everything that counts has been answered.
    try? client.disconnect()
  }

  private mutating func turn(atMost timeout: Duration) throws(ReplayEnd) {
    do throws(MosquittoError) {
      try wait(atMost: timeout)
    } catch {
      // Answers that came before the connection broke count.
      try takeAnswers()
      throw .broker(error)
    }
    try takeAnswers()
  }

  private mutating func wait(atMost timeout: Duration) throws(MosquittoError) {
    if client.wantsWrite { try client.flush() }
    let ready = Poll.wait(
      socket: client.socket, forWriting: client.wantsWrite, wakeUp: interruption,
      timeout: timeout)
    if ready.wokenUp {
      interruption.clear()
      isInterrupted = true
    }
    if ready.socketReadable { while try client.readUntilDry(limit: 1000) {} }
    let now = Clock.monotonic()
    if now.since(lastMisc) >= .seconds(1) {
      lastMisc = now
      try client.misc()
    }
    try checkProgress(now)
  }

  private mutating func checkProgress(_ now: MonotonicTime) throws(MosquittoError) {
    guard let socket = client.socket, !sent.isEmpty else { return }
    let unsent = SocketQueue.unsentByteCount(of: socket)
    if unsent < unsentByteCount { lastProgress = now }
    unsentByteCount = unsent
    guard now.since(lastProgress) > Self.answerTimeout else { return }
    throw MosquittoError(
      .timedOut, endpoint: nil, detail: "a publish stayed without PUBACK for too long")
  }

  private mutating func takeAnswers() throws(ReplayEnd) {
    for (mid, reason) in answers.take() {
      lastProgress = Clock.monotonic()
      if let place = sent.firstIndex(where: { $0.mid == mid }) { sent[place].answer = reason }
    }
    while let first = sent.first, let answer = first.answer {
      let isAccepted =
        answer == .noMatchingSubscribers ? sink.acceptsNoSubscriber : !answer.isFailure
      guard isAccepted else { throw .refused(first.sequences, answer) }
      sent.removeFirst()
      accepted.messageCount += 1
      accepted.recordCount += first.recordCount
      accepted.byteCount += first.byteCount
      accepted.through = first.sequences.last
    }
  }

  private final class Answers: MosquittoHandler {
    private(set) var receiveMaximum = 1
    private(set) var maximumPacketByteCount: UInt32?
    private(set) var maximumQualityOfService = QualityOfService.exactlyOnce
    private var waiting: [(mid: Int32, reason: ReasonCode)] = []

    func take() -> [(mid: Int32, reason: ReasonCode)] {
      defer { waiting.removeAll(keepingCapacity: true) }
      return waiting
    }

    func connected(_ acknowledgement: ConnectAcknowledgement) {
      receiveMaximum = Int(acknowledgement.receiveMaximum)
      maximumPacketByteCount = acknowledgement.maximumPacketByteCount
      maximumQualityOfService = acknowledgement.maximumQualityOfService
    }

    func published(mid: Int32, reason: ReasonCode) { waiting.append((mid, reason)) }
    func disconnected(_ reason: ReasonCode?) {}
    func received(
      _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
    ) {}
    func subscribed(mid: Int32, granted: [ReasonCode]) {}
    func unsubscribed(mid: Int32) {}
  }
}
