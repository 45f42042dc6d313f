import CoreMetrics
import GatewayCore
package import Logging
package import Mosquitto
import Platform

/// Says on one broker whether this gateway is there: a connection of its own, whose will is the
/// retained message "offline", and which publishes "online" each time it is accepted. On one thread
/// of its own.
///
/// A connection of its own, because a sink's comes and goes with its journal, and a broker has one
/// status however many sinks. A broker that closes an older connection for the newer one publishes
/// that one's will before it accepts the newer, so "online" comes last.
package struct PresenceLoop: ~Copyable {
  /// How long the last word may take before we go without it.
  private static var farewellTimeout: Duration { .seconds(2) }
  private static var turn: Duration { .seconds(1) }
  private static var answerTimeout: Duration { .seconds(30) }
  private static var stableAfter: Duration { .seconds(10) }

  private let topic: String
  private let connection: ConnectionOptions
  private let message: PresenceMessage
  private let control: PresenceControl
  private let recall: Recall
  private let online: Gauge
  private let logger: Logger
  private let inbox = SinkInbox()
  private var backoff = Backoff()
  private var attempt = 0
  private var lastReported: MosquittoError.Code?

  /// - Parameter connection: as for a sink, with a client id of its own.
  package init(
    broker: String, topic: String, connection: ConnectionOptions, message: PresenceMessage,
    control: PresenceControl, recall: Recall, logger: Logger
  ) {
    self.topic = topic
    self.connection = connection
    self.message = message
    self.control = control
    self.recall = recall
    var logger = logger
    logger[metadataKey: "broker"] = "\(broker)"
    self.logger = logger
    online = Gauge(label: "penstock_broker_status_online", dimensions: [("broker", broker)])
    online.record(0)
  }

  /// Runs until it is told to stop, and says so to the broker if it is connected. A broker that is
  /// away, or refuses the topic, never ends it.
  package mutating func run() {
    while !control.isStopped {
      let endpoint = attempt % connection.endpoints.count
      attempt += 1
      let begin = Clock.monotonic()
      do throws(MosquittoError) {
        try serve(endpoint: endpoint)
        attempt = 0
      } catch {
        online.record(0)
        if Clock.monotonic().since(begin) >= Self.stableAfter {
          backoff.succeeded()
          lastReported = nil
        }
        wait(after: error.naming(connection.endpoints[endpoint]))
      }
    }
  }

  private mutating func wait(after error: MosquittoError) {
    let pause = backoff.next()
    logger.log(
      level: lastReported == error.code ? .debug : .warning,
      "the status topic is not kept, trying again",
      metadata: [
        "broker.error": "\(error)", "mqtt.topic": "\(topic)", "retry.seconds": "\(pause.seconds)",
      ])
    lastReported = error.code
    let until = Clock.monotonic() + pause
    while !control.isStopped, Clock.monotonic() < until {
      control.wait(until.since(Clock.monotonic()))
    }
  }

  /// One connection, until it is recalled or told to stop.
  private mutating func serve(endpoint: Int) throws(MosquittoError) {
    var options = connection
    options.will = Will(
      topic: topic, payload: message.text(.lost, since: Clock.wall()), retain: true)
    inbox.beginConnection()
    var client = MosquittoClient(options: options, handler: inbox, logger: logger)
    try client.connect(endpoint: endpoint)
    while inbox.connectAcknowledgement == nil {
      if control.isStopped { return }
      try turn(&client, Self.turn)
    }
    attempt = 0
    try say(.online, &client, within: Self.answerTimeout)
    let since = Clock.monotonic()
    online.record(1)
    lastReported = nil
    recall.entered(endpoint: endpoint)
    defer { recall.left(endpoint: endpoint) }
    logger.info("the status topic says online", metadata: ["mqtt.topic": "\(topic)"])
    var reason: Recall.Reason?
    while !control.isStopped, reason == nil {
      try turn(&client, Self.turn)
      reason = recall.reason(at: endpoint, since: since)
    }
    online.record(0)
    // With new credentials we are back in a moment: "online" stays.
    if control.isStopped || reason == .firstAccepts {
      try say(control.isStopped ? .stopped : .moved, &client, within: Self.farewellTimeout)
    }
    try client.disconnect()
  }

  /// Publishes and waits for the broker's answer.
  private func say(
    _ status: PresenceMessage.Status, _ client: inout MosquittoClient<SinkInbox>,
    within limit: Duration
  ) throws(MosquittoError) {
    let text = message.text(status, since: Clock.wall())
    let mid = try client.publish(
      topic: topic, payload: text.span, quality: .atLeastOnce, retain: true)
    let deadline = Clock.monotonic() + limit
    while true {
      if let answer = inbox.answers.first(where: { $0.mid == mid }) {
        inbox.answers.removeAll(keepingCapacity: true)
        guard !answer.reason.isFailure else {
          throw MosquittoError(
            .brokerRefused, reason: answer.reason, endpoint: nil,
            detail: "the broker refuses the status topic \(topic): \(answer.reason)")
        }
        return
      }
      let left = deadline.since(Clock.monotonic())
      guard left > .zero else {
        throw MosquittoError(
          .timedOut, endpoint: nil, detail: "the status stayed without PUBACK for too long")
      }
      try turn(&client, min(left, Self.turn), isWoken: false)
    }
  }

  /// - Parameter isWoken: whether a call to stop ends the wait.
  private func turn(
    _ client: inout MosquittoClient<SinkInbox>, _ timeout: Duration, isWoken: Bool = true
  ) throws(MosquittoError) {
    if client.wantsWrite { try client.flush() }
    try client.misc()
    let ready = control.wait(
      timeout, socket: client.socket, forWriting: client.wantsWrite, isWoken: isWoken)
    if ready.socketReadable { try client.read() }
    if client.socket == nil {
      throw MosquittoError(.connectionLost, endpoint: nil, detail: "connection lost")
    }
  }
}
