import ArgumentParser
import Audit
import GatewayCore
import Mosquitto
import Platform

struct PublishCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "publish",
    abstract: "Publish lines of text, and show what the broker says to each.",
    discussion: """
      The lines are the arguments, or a file's, or those of standard input; one message each, in \
      their order. For each the answer is shown with the number of the line: "written" at QoS 0, \
      "acknowledged" (PUBACK) at QoS 1, "completed" (PUBCOMP) at QoS 2, with the time it took, or \
      why it was refused; then how many were accepted. Exits with 69 when the broker is \
      unavailable or refuses a message.
      """)

  @Argument(help: "The topic.") var topic: String

  @Argument(help: "The messages; none: lines of the file or of standard input.")
  var messages: [String] = []

  @Option(help: "A file of lines.") var file: String?

  @Option(help: "0, 1 or 2: with 0 the broker answers nothing.", transform: PublishCommand.quality)
  var qos = QualityOfService.atLeastOnce

  @Flag(help: "Ask the broker to keep the message for later subscribers.") var retain = false

  @Flag(name: .shortAndLong, help: "Show refusals and the sum only.") var quiet = false

  @OptionGroup(title: "Broker") var broker: BrokerArguments

  func validate() throws {
    if file != nil && !messages.isEmpty {
      throw ValidationError("Messages come from the arguments or from --file, not from both.")
    }
    if topic.isEmpty || topic.contains(where: { "+#\0".contains($0) }) {
      throw ValidationError("A topic to publish to is not empty and has no +, # or NUL.")
    }
  }

  func run() throws {
    var options = TextProducer.Options(
      connection: broker.connection(clientID: BrokerArguments.uniqueClientID("publish")),
      topic: topic)
    options.quality = qos
    options.retain = retain
    let source = try source()
    var accepted = 0
    var refused = 0
    do throws(MosquittoError) {
      try TextProducer(options: options).run(source) { outcome in
        if outcome.reason.isFailure { refused += 1 } else { accepted += 1 }
        if !quiet || outcome.reason.isFailure {
          Console.line("\(outcome.number): \(Self.words(for: outcome, qos))")
        }
      }
    } catch {
      throw GatewayCore.ExitCode.unavailable.failure("\(error) \(accepted) messages were accepted.")
    }
    Console.line("\(accepted) accepted, \(refused) refused")
    if refused > 0 {
      throw GatewayCore.ExitCode.unavailable.failure(
        "\(broker.broker) refused \(refused) messages. Check its access rules and limits.")
    }
  }

  private func source() throws -> LineSource {
    if !messages.isEmpty { return try LineSource(messages) }
    guard let file else { return try LineSource(readingAndClosing: 0) }
    do throws(SystemError) {
      return try LineSource(file: file)
    } catch {
      throw ValidationError("\(error)")
    }
  }

  private static func words(
    for outcome: TextProducer.Outcome, _ quality: QualityOfService
  ) -> String {
    let reason = outcome.reason
    if reason == .noMatchingSubscribers { return "acknowledged, but nobody subscribes: \(reason)" }
    if reason.isFailure { return "refused: \(reason)" }
    let tenths = max(0, outcome.delay.nanoseconds) / 100_000
    let time = "\(tenths / 10).\(tenths % 10) ms"
    return switch quality {
    case .atMostOnce: "written"
    case .atLeastOnce: "acknowledged after \(time)"
    case .exactlyOnce: "completed after \(time)"
    }
  }

  static func quality(_ text: String) throws -> QualityOfService {
    switch text {
    case "0": return .atMostOnce
    case "1": return .atLeastOnce
    case "2": return .exactlyOnce
    default: throw ValidationError("\(text) is not a quality of service: write 0, 1 or 2.")
    }
  }
}
