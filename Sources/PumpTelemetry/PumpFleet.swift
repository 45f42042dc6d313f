// The events of simulated pumps, as plain JSON.
//
//   topic pumps/<asset id>/metrics, one object of about 200 bytes:
//     messageId       text, see below
//     assetId         text, ND01, ND02, … (more digits from ND100 on), or as it was laid down
//     timestamp       text, RFC 3339 in UTC with milliseconds: when the pump measured
//     the six metrics numbers, see Metric for fields and units
//
//   topic pumps/<asset id>/asset, sent once when a pump is installed:
//     messageId, assetId
//     type             text, the kind of asset
//     operatingSystem  text, of the pump's controller
//     version          text, of the controller's firmware
//     ipAddress        text, of the controller, in 10.0.0.0/8
//     location         object: site (text), latitude and longitude (degrees, WGS 84)
//     creationDate     text, RFC 3339: when the asset was put into service
//
//   topic pumps/<asset id>/confirmations: see PumpCommand.
//
// A message id is `<run>-<asset id>-<counter>`: the counter has at least six digits, starts at 1,
// grows by 1 with each event of the pump, and is shared by its topics. The run is what keeps two
// runs of the simulator apart: the ids of one run never come back in another, unless one asks for
// the same run. Without a run the id is `<asset id>-<counter>`.

package import GatewayCore
import JSONScanning

/// The kinds of events a pump sends.
package enum PumpEventKind: UInt8, Sendable, CaseIterable {
  case asset
  case metrics
}

/// What became of a command.
package struct CommandAnswer: Sendable, Hashable {
  package enum Outcome: Sendable, Hashable {
    case done
    /// Was answered before, and is answered the same again.
    case repeated
    case refused
  }

  package let outcome: Outcome
  /// The counter in the confirmation's message id.
  package let counter: UInt64
  /// The pump is to measure at this rate from now on.
  package let newRate: Double?
}

/// Keeps the message ids of one run of the simulator apart from those of every other.
package struct RunID: Hashable, Sendable, CustomStringConvertible {
  package static let byteCountMax = 16
  package let description: String

  /// Letters, digits and underscores, 1 ... `byteCountMax`; nil for anything else.
  package init?(_ text: String) {
    let isName = text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
        true
      default: false
      }
    }
    guard isName, (1...RunID.byteCountMax).contains(text.utf8.count) else { return nil }
    description = text
  }

  /// Eight letters and digits at random: one in 2.8 million million for two runs to meet.
  package static func random() -> RunID {
    var generator = SystemRandomNumberGenerator()
    let letters = Array("abcdefghijklmnopqrstuvwxyz0123456789".unicodeScalars)
    var text = String.UnicodeScalarView()
    for _ in 0..<8 {
      text.append(letters[Int.random(in: letters.indices, using: &generator)])
    }
    return RunID(unchecked: String(text))
  }

  private init(unchecked text: String) { description = text }
}

/// A number of pumps that tell the same story for the same seed, pump by pump: what one pump sends
/// does not depend on how many others there are or in which order they speak. No I/O, no clock.
package struct PumpFleet: Sendable {
  package static let countMax = 10_000
  /// The oldest command a pump obeys, unless it is told otherwise.
  package static let commandAgeMaxDefault = Duration.seconds(60)

  private struct Pump {
    let asset: PumpAsset
    let idPrefix: [UInt8]
    let topics: (asset: String, metrics: String)
    /// Pump time between two readings.
    var interval: Duration
    var counter: UInt64 = 0
    var readings: Readings
    var commands = CommandMemory()
  }

  private var pumps: [Pump] = []
  private var places: [String: Int] = [:]
  private let commandAgeMax: Duration

  /// - Parameters:
  ///   - plan: the pumps and their patterns.
  ///   - seed: decides facts and readings of every pump.
  ///   - run: see the head of this file.
  ///   - interval: pump time between two readings of a pump without a rate of its own; zero when
  ///     pumps measure as fast as they can, and patterns then count readings only.
  ///   - commandAgeMax: older commands are refused.
  package init(
    plan: FleetPlan, seed: UInt64, run: RunID?, interval: Duration = .zero,
    commandAgeMax: Duration = PumpFleet.commandAgeMaxDefault
  ) {
    self.commandAgeMax = commandAgeMax
    pumps.reserveCapacity(plan.pumps.count)
    for pump in plan.pumps {
      var generator = SplitMix64(seed: seed, stream: pump.stream)
      let asset = PumpAsset(plan: pump, using: &generator)
      places[asset.id] = pumps.count
      pumps.append(
        Pump(
          asset: asset, idPrefix: Array((run.map { "\($0)-" } ?? "").utf8) + asset.id.utf8,
          topics: ("pumps/\(asset.id)/asset", "pumps/\(asset.id)/metrics"),
          interval: pump.rate.map { .seconds(1 / $0) } ?? interval,
          readings: Readings(generator: generator, patterns: pump.patterns)))
    }
  }

  /// ND01, ND02, … in normal operation.
  package init(count: Int, seed: UInt64, run: RunID?) {
    self.init(plan: FleetPlan(count: count), seed: seed, run: run)
  }

  package var count: Int { pumps.count }

  package func asset(ofPump pump: Int) -> PumpAsset { pumps[pump].asset }

  package func isRunning(pump: Int) -> Bool { pumps[pump].readings.isRunning }

  package func topic(of kind: PumpEventKind, pump: Int) -> String {
    kind == .asset ? pumps[pump].topics.asset : pumps[pump].topics.metrics
  }

  package func confirmationTopic(pump: Int) -> String {
    "pumps/\(pumps[pump].asset.id)/confirmations"
  }

  /// Where a pump hears commands.
  package func commandTopic(pump: Int) -> String { "pumps/\(pumps[pump].asset.id)/commands" }

  /// The pump that hears commands on this topic; nil when it is none of this fleet.
  package func pump(hearing topic: String) -> Int? {
    guard topic.hasPrefix("pumps/"), topic.hasSuffix("/commands") else { return nil }
    return places[String(topic.dropFirst(6).dropLast(9))]
  }

  /// Appends the next event of one pump and answers with its counter.
  package mutating func appendEvent(
    _ kind: PumpEventKind, pump: Int, at time: WallTime, to bytes: inout [UInt8]
  ) -> UInt64 {
    let counter = begin(pump, &bytes)
    switch kind {
    case .asset:
      bytes.append(ascii: ",")
      pumps[pump].asset.appendFields(to: &bytes)
    case .metrics:
      bytes.append(ascii: ",\"timestamp\":\"")
      time.appendRFC3339(to: &bytes)
      bytes.append(ascii: "\"")
      pumps[pump].readings.advance(interval: pumps[pump].interval)
      for metric in Metric.allCases {
        let properties = metric.properties
        bytes.append(ascii: ",\"")
        bytes.append(ascii: properties.field)
        bytes.append(ascii: "\":")
        bytes.append(
          fixed: pumps[pump].readings.shown[metric.rawValue], decimals: properties.decimals)
      }
    }
    bytes.append(ascii: "}")
    return counter
  }

  /// Identity of the pump's next event, without the closing brace; its counter.
  private mutating func begin(_ pump: Int, _ bytes: inout [UInt8]) -> UInt64 {
    pumps[pump].counter += 1
    let counter = pumps[pump].counter
    bytes.append(ascii: "{\"messageId\":\"")
    appendMessageID(pump: pump, counter: counter, to: &bytes)
    bytes.append(ascii: "\",\"assetId\":\"")
    bytes.append(utf8: pumps[pump].asset.id)
    bytes.append(ascii: "\"")
    return counter
  }

  // MARK: Commands

  /// Obeys a command, or refuses to, and appends the confirmation to send.
  package mutating func obey(
    _ payload: Span<UInt8>, pump: Int, at time: WallTime, reader: inout PumpCommandReader,
    to bytes: inout [UInt8]
  ) -> CommandAnswer {
    let command = reader.read(payload, asset: pumps[pump].asset.id)
    let (outcome, refusal) = decide(command, pump, time)
    var newRate: Double?
    if outcome == .done {
      switch command.order {
      case .stop: pumps[pump].readings.isRunning = false
      case .start: pumps[pump].readings.isRunning = true
      case .setRate(let rate):
        newRate = rate
        pumps[pump].interval = .seconds(1 / rate)
      case nil: break
      }
    }
    let counter = begin(pump, &bytes)
    Self.appendAnswer(command, refusal, time, to: &bytes)
    return CommandAnswer(outcome: outcome, counter: counter, newRate: newRate)
  }

  private mutating func decide(
    _ command: PumpCommand, _ pump: Int, _ time: WallTime
  ) -> (CommandAnswer.Outcome, CommandRefusal?) {
    guard let id = command.id, let name = command.name, let issuedAt = command.issuedAt else {
      return (.refused, command.problem ?? .malformed("no command"))
    }
    if let known = pumps[pump].commands.entry(id) {
      guard known.name == name, known.order == command.order else { return (.refused, .idReused) }
      return (.repeated, known.refusal)
    }
    var refusal = command.problem
    let (age, isBeyond) = time.nanoseconds.subtractingReportingOverflow(issuedAt.nanoseconds)
    if isBeyond || abs(age) > commandAgeMax.nanoseconds {
      refusal = refusal ?? (time < issuedAt ? .fromTheFuture : .expired)
    }
    if pumps[pump].commands.mayHaveForgotten(issuedAt: issuedAt) { refusal = refusal ?? .expired }
    let limit = WallTime(nanoseconds: time.nanoseconds - commandAgeMax.nanoseconds)
    if refusal == nil, !pumps[pump].commands.makeRoom(before: limit) { refusal = .tooMany }
    pumps[pump].commands.remember(
      CommandMemory.Entry(
        id: id, name: name, order: command.order, issuedAt: issuedAt, refusal: refusal))
    return (refusal == nil ? .done : .refused, refusal)
  }

  private static func appendAnswer(
    _ command: PumpCommand, _ refusal: CommandRefusal?, _ time: WallTime, to bytes: inout [UInt8]
  ) {
    func put(_ field: StaticString, _ value: String?) {
      bytes.append(ascii: field)
      if let value { JSONString.append(value, to: &bytes) } else { bytes.append(ascii: "null") }
    }
    put(",\"commandId\":", command.id)
    put(",\"command\":", command.name)
    put(",\"result\":", refusal == nil ? "done" : "refused")
    if let refusal { put(",\"reason\":", refusal.description) }
    bytes.append(ascii: ",\"timestamp\":\"")
    time.appendRFC3339(to: &bytes)
    bytes.append(ascii: "\"}")
  }

  /// Appends the message id of a pump's event.
  package func appendMessageID(pump: Int, counter: UInt64, to bytes: inout [UInt8]) {
    bytes.append(contentsOf: pumps[pump].idPrefix)
    bytes.append(UInt8(ascii: "-"))
    bytes.append(decimal: counter, digits: 6)
  }

  package func messageID(pump: Int, counter: UInt64) -> String {
    var bytes: [UInt8] = []
    appendMessageID(pump: pump, counter: counter, to: &bytes)
    return String(decoding: bytes.span)
  }
}
