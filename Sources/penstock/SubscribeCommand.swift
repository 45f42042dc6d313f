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
      A line is topic and payload; control characters are written \\xNN. With --envelope the \
      payload is a batch of the gateway, and each event is a line: sequence, topic, payload. \
      A message is acknowledged after it was printed. Runs until Ctrl-C or --count. Exits with 69 \
      when the broker is unavailable or refuses the subscription.
      """)

  @Argument(help: "Topic filters.") var filters: [String]

  @Option(help: "Stop after this many messages.") var count: UInt64?

  @Option(help: "0 or 1.", transform: PublishCommand.quality)
  var qos = QualityOfService.atLeastOnce

  @Flag(help: "Decode the gateway's batches.") var envelope = false

  @Option(
    help: """
      Keep a session under this client id: what comes while the command is away waits at the broker.
      """)
  var session: String?

  @OptionGroup(title: "Broker") var broker: BrokerArguments

  func validate() throws {
    if count == 0 { throw ValidationError("--count is at least 1.") }
    if filters.contains(where: \.isEmpty) { throw ValidationError("A filter is not empty.") }
  }

  func run() throws {
    var connection = broker.connection(
      clientID: session ?? BrokerArguments.uniqueClientID("subscribe"))
    if session != nil {
      connection.cleanStart = false
      connection.sessionExpiry = .seconds(7 * 86_400)
    }
    var options = TextConsumer.Options(connection: connection, filters: filters)
    options.quality = qos
    options.count = count
    let consumer = try TextConsumer(options: options)
    try TerminationSignal.onFirst { consumer.stop() }
    let envelope = envelope
    do throws(MosquittoError) {
      try consumer.run(
        message: { _, topic, payload in
          if envelope {
            Self.showEnvelope(topic, payload)
          } else {
            Console.line("\(Printable.text(topic)) \(Printable.text(payload))")
          }
        },
        notice: { Console.error("penstock: \($0)") })
    } catch {
      throw GatewayCore.ExitCode.unavailable.failure("\(error)")
    }
  }

  private static func showEnvelope(_ topic: Span<UInt8>, _ payload: Span<UInt8>) {
    do throws(EnvelopeError) {
      let batch = try EnvelopeDecoder.decode(payload)
      var text = ""
      for gap in batch.gaps { text += "\(gap.range) gap \(gap.reason.text)\n" }
      for range in batch.elided { text += "\(range) elided\n" }
      for event in batch.events {
        let reason = event.reason.map { " dead-letter \($0)" } ?? ""
        let topic = Printable.text(event.topic)
        text += "\(event.sequence)\(reason) \(topic) \(Printable.text(event.payload.span))\n"
      }
      Console.text(text)
    } catch {
      Console.error("penstock: \(Printable.text(topic)): not an envelope: \(error)")
    }
  }
}
