import Audit
import Envelope
import GatewayCore
import Mosquitto
import Platform
import Synchronization
import TestSupport

/// The released way to run it, `penstock run` as a process, between two scripted brokers:
///
///     field (S, A) ──▶ penstock run ──▶ centre (D)
///         └────▶ audit, events ◀────────┘
final class GatewayStage {
  struct Options: Sendable {
    var version = ProtocolVersion.v5
    /// Where the scripted brokers listen.
    var address = "127.0.0.1"
    /// Runs the gateway: `ip netns exec NAME`.
    var wrapper: [String] = []
    /// Lines of both broker sections.
    var brokerLines: [String] = []
    /// Lines of the route and of its destination.
    var routeLines: [String] = []
    var sinkLines: [String] = []
    var filter = "pumps/+/metrics"
    var message: @Sendable (Int) -> FieldRole.Message = Load.message
    var id: @Sendable (Int) -> String = Load.id
    /// Whether a PUBACK that comes now says what it seems to say.
    var believes: @Sendable () -> Bool = { true }
  }

  let field: MQTTPeer<FieldRole>
  let central: MQTTPeer<CentralRole>
  let gateway: GatewayUnderTest
  let ledger = AuditLedger()
  private let inbox: Inbox

  init(_ options: Options = Options()) throws {
    let ledger = ledger
    let inbox = Inbox()
    self.inbox = inbox
    var role = FieldRole(options.message)
    role.observer.sent = { number, message in
      ledger.sent(
        topic: message.topic, id: options.id(number), payload: message.payload.span)
    }
    role.observer.acknowledged = { number, _ in
      guard options.believes() else { return }
      ledger.acknowledged(topic: options.message(number).topic, id: options.id(number))
    }
    field = try MQTTPeer(role, address: options.address)
    central = try MQTTPeer(
      CentralRole { publish in inbox.take(publish, into: ledger) }, address: options.address)
    let ports = (field: field.port, central: central.port)
    gateway = try GatewayUnderTest(wrapper: options.wrapper) { dataDirectory in
      Self.configuration(options, field: ports.field, central: ports.central, dataDirectory)
    }
  }

  private static func configuration(
    _ options: Options, field: UInt16, central: UInt16, _ dataDirectory: String
  ) -> String {
    var brokerLines = options.brokerLines
    if options.version == .v311 { brokerLines.append("protocol: 3.1.1") }
    if options.address != "127.0.0.1" { brokerLines.append("insecure_plaintext: true") }
    var sinkLines = options.sinkLines
    if options.version == .v311 { sinkLines.append("max_packet: 256KiB") }
    var lines = ["gateway: {id: gw-1, data_directory: \"\(dataDirectory)\"}", "brokers:"]
    for (name, port) in [("field", field), ("central", central)] {
      lines += ["  \(name):", "    url: mqtt://\(options.address):\(port)"]
      lines += brokerLines.map { "    " + $0 }
    }
    // The oracle takes everything that comes to the centre for an envelope.
    lines.append("    status_topic: none")
    lines += [
      "routes:", "  - name: telemetry", "    from: field",
      "    subscribe: [\"\(options.filter)\"]", "    message_id: {json: /messageId}",
    ]
    lines += options.routeLines.map { "    " + $0 }
    lines += [
      "    journal: {size: 16MiB}", "    to:", "      - name: central", "        broker: central",
      "        batch: {max_delay: 50ms}",
    ]
    lines += sinkLines.map { "        " + $0 }
    return lines.joined(separator: "\n") + "\n"
  }

  // MARK: -

  /// Starts the gateway and waits until the field broker has its subscription.
  func startSubscribed(within limit: Duration = .seconds(30)) throws {
    try gateway.start()
    try gateway.wait(for: "the subscription", within: limit) {
      field.withRole { $0.isSubscribed }
    }
  }

  /// Lets so many more messages leave.
  func send(_ count: Int) { field.withRole { $0.limit = $0.sentCount + count } }

  var sentCount: Int { field.withRole { $0.sentCount } }
  var acknowledgedCount: Int { field.withRole { $0.acknowledgedCount } }

  /// Every event that came, in order, dead letters too.
  var events: [Event] { inbox.events.withLock { $0 } }

  /// What has not been sent until now is not sent any more.
  func stopSending() { field.withRole { $0.limit = $0.sentCount } }

  /// Waits until all that may be sent is sent, acknowledged and delivered.
  func drain(within limit: Duration = .seconds(60)) throws {
    do {
      try gateway.wait(for: "the drain", within: limit) {
        field.withRole { $0.isIdle } && ledger.counts.outstanding == 0
      }
    } catch let failure as TestFailure {
      throw TestFailure(
        "\(sentCount) sent, \(acknowledgedCount) acknowledged, \(ledger.counts.outstanding) of "
          + "them not delivered. \(failure)")
    }
  }

  /// Verdict on everything so far.
  func report() throws -> AuditReport {
    for errors in [field.errors, central.errors] where !errors.isEmpty {
      throw gateway.failure("no MQTT: \(errors)")
    }
    return ledger.report()
  }
}

/// What the centre got.
private final class Inbox: Sendable {
  let events = Mutex<[Event]>([])

  func take(_ publish: MQTTPacket.Publish, into ledger: AuditLedger) {
    do throws(EnvelopeError) {
      let envelope = try EnvelopeDecoder.decode(publish.payload.span)
      ledger.withAudit { EnvelopeRecorder.record(envelope, into: &$0) }
      events.withLock { $0 += envelope.events }
    } catch {
      let reason = "\(publish.topic): \(error)"
      ledger.withAudit { $0.undecodable(reason) }
    }
  }
}
