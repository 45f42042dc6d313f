import ArgumentParser
import Audit
import Envelope
import GatewayCore
import Mosquitto
import Platform

struct SubscribeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "subscribe",
    abstract: "Print the messages of topics, one per line.",
    discussion: """
      A line is topic and payload; control characters are written \\xNN. With --offsets the line \
      begins with the number of the message, from 1, and with the gateway's sequence behind @ \
      where the message tells it: #12@1041. With --envelope the payload is a batch of the \
      gateway, and each event is a line: sequence, topic, payload. A message is acknowledged \
      after it was printed.

      With --group several subscribers of one group share the messages: each goes to one of them \
      (a shared subscription). With --session the broker keeps what comes while the command is \
      away. Runs until Ctrl-C or --count. Exits with 69 when the broker is unavailable or refuses \
      the subscription.
      """)

  @Argument(help: "Topic filters.") var filters: [String]

  @Option(help: "Stop after this many messages.") var count: UInt64?

  @Option(
    help: "0, 1 or 2: at most; a message comes no better than it was published.",
    transform: PublishCommand.quality)
  var qos = QualityOfService.atLeastOnce

  @Flag(help: "Decode the gateway's batches.") var envelope = false

  @Flag(help: "Show the number of each message, and the gateway's sequence.") var offsets = false

  @Option(
    help: ArgumentHelp(
      "Share the messages with the other subscribers of this group.", valueName: "name"))
  var group: String?

  @Option(
    help: """
      Keep a session under this client id: what comes while the command is away waits at the broker.
      """)
  var session: String?

  @OptionGroup(title: "Broker") var broker: BrokerArguments

  func validate() throws {
    if count == 0 { throw ValidationError("--count is at least 1.") }
    if filters.contains(where: \.isEmpty) { throw ValidationError("A filter is not empty.") }
    guard let group else { return }
    if group.isEmpty || group.contains(where: { "/+#\0".contains($0) }) {
      throw ValidationError("A group's name is not empty and has no /, +, # or NUL.")
    }
    if broker.protocolVersion != .v5 {
      throw ValidationError("--group needs MQTT 5: 3.1.1 has no shared subscriptions.")
    }
    if filters.contains(where: { $0.hasPrefix("$share/") }) {
      throw ValidationError("A filter of --group does not begin with $share/ itself.")
    }
  }

  func run() throws {
    var connection = broker.connection(
      clientID: session ?? BrokerArguments.uniqueClientID("subscribe"))
    if session != nil {
      connection.cleanStart = false
      connection.sessionExpiry = .seconds(7 * 86_400)
    }
    var options = TextConsumer.Options(connection: connection, filters: sharedFilters)
    options.quality = qos
    options.count = count
    let consumer = try TextConsumer(options: options)
    try TerminationSignal.onFirst { consumer.stop() }
    let envelope = envelope
    let offsets = offsets
    do throws(MosquittoError) {
      try consumer.run(
        message: { number, _, topic, payload, properties in
          let offset = offsets ? Self.offset(number, properties) : ""
          if envelope {
            Self.showEnvelope(topic, payload, offset)
          } else {
            Console.line("\(offset)\(Printable.text(topic)) \(Printable.text(payload))")
          }
        },
        notice: { Console.error("penstock: \($0)") })
    } catch {
      throw GatewayCore.ExitCode.unavailable.failure("\(error)")
    }
  }

  private var sharedFilters: [String] {
    guard let group else { return filters }
    return filters.map { "$share/\(group)/\($0)" }
  }

  /// `#12 `, or `#12@1041 ` for a raw message of a gateway.
  private static func offset(_ number: UInt64, _ properties: Span<UInt8>) -> String {
    let name = Array("penstock-sequence".utf8)
    guard let range = MQTTPropertyReader.userProperty(named: name.span, in: properties) else {
      return "#\(number) "
    }
    return "#\(number)@\(Printable.text(properties.extracting(range))) "
  }

  private static func showEnvelope(
    _ topic: Span<UInt8>, _ payload: Span<UInt8>, _ offset: String
  ) {
    do throws(EnvelopeError) {
      let batch = try EnvelopeDecoder.decode(payload)
      var text = ""
      for gap in batch.gaps { text += "\(offset)\(gap.range) gap \(gap.reason.text)\n" }
      for range in batch.elided { text += "\(offset)\(range) elided\n" }
      for event in batch.events {
        let reason = event.reason.map { " dead-letter \($0)" } ?? ""
        let topic = Printable.text(event.topic)
        text += "\(offset)\(event.sequence)\(reason) \(topic) "
        text += "\(Printable.text(event.payload.span))\n"
      }
      Console.text(text)
    } catch {
      Console.error("penstock: \(Printable.text(topic)): not an envelope: \(error)")
    }
  }
}
