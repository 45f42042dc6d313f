// Commands to a pump, on pumps/<asset id>/commands, and what it answers on
// pumps/<asset id>/confirmations. Both are one JSON object.
//
//   command       commandId  text, 1 to 128 bytes: the issuer's, one for each command
//                 assetId    text, the pump
//                 command    stop, start or setRate
//                 rate       number, of setRate: readings per second, 0.001 to 1000
//                 issuedAt   text, RFC 3339
//
//   confirmation  messageId  text, as in the pump's other events
//                 assetId    text
//                 commandId  text; null when the command's could not be read
//                 command    text; null likewise
//                 result     done or refused
//                 reason     text, with refused only: see CommandRefusal
//                 timestamp  text, RFC 3339: when the pump answered
//
// A pump obeys a command id once. What comes again is confirmed again, with the same result and a
// message id of its own. A command is refused when it is older than the pump's limit, or from the
// future by more than that, because nobody can say then how old it is: a start three days late is
// a hazard. A pump remembers every command that is younger than the limit, and refuses what it
// could not remember, so within it nothing is done twice. The memory ends with the process.

import GatewayCore
import JSONScanning

/// What a pump can be told.
package enum PumpOrder: Sendable, Hashable {
  case stop
  case start
  /// Readings per second.
  case setRate(Double)

  package var name: StaticString {
    switch self {
    case .stop: "stop"
    case .start: "start"
    case .setRate: "setRate"
    }
  }
}

/// Why a pump does not obey.
package enum CommandRefusal: Sendable, Hashable, CustomStringConvertible {
  /// Not JSON, or a member is missing or not what it must be.
  case malformed(String)
  case unknownCommand
  case otherAsset
  case rateOutOfRange
  case expired
  case fromTheFuture
  /// The command id was used for another command before.
  case idReused
  /// More commands than a pump can remember came within the age limit.
  case tooMany

  package var description: String {
    switch self {
    case .malformed(let what): "malformed: \(what)"
    case .unknownCommand: "unknown command; accepted: stop, start, setRate"
    case .otherAsset: "the command is for another asset"
    case .rateOutOfRange: "rate out of range; accepted: 0.001 to 1000 readings per second"
    case .expired: "expired"
    case .fromTheFuture: "issued in the future: the clocks disagree"
    case .idReused: "the commandId was used for another command"
    case .tooMany: "too many commands at a time"
    }
  }
}

/// A command as it was read: as much of it as could be.
struct PumpCommand {
  static let idByteCountMax = 128

  var id: String?
  var name: String?
  var order: PumpOrder?
  var issuedAt: WallTime?
  var problem: CommandRefusal?
}

/// Reads commands. One per thread.
package struct PumpCommandReader: ~Copyable {
  package static let payloadByteCountMax = 64 << 10

  private var scanner: JSONScanner
  private static let names = ["commandId", "assetId", "command", "rate", "issuedAt"]

  package init() {
    let pointers = Self.names.compactMap { try? JSONPointer("/" + $0) }
    precondition(pointers.count == Self.names.count, "the names need no escaping")
    scanner = JSONScanner(pointers: pointers)
  }

  mutating func read(_ payload: Span<UInt8>, asset: String) -> PumpCommand {
    var command = PumpCommand()
    guard payload.count <= Self.payloadByteCountMax else {
      command.problem = .malformed("more than \(Self.payloadByteCountMax) bytes")
      return command
    }
    switch scanner.scan(payload) {
    case .valid: break
    case .hazardous: command.problem = .malformed("JSON that readers understand differently")
    case .invalid(let offset): command.problem = .malformed("not JSON from byte \(offset) on")
    }
    if command.problem != nil { return command }
    command.id = text(0, payload).flatMap { id in
      (1...PumpCommand.idByteCountMax).contains(id.utf8.count) ? id : nil
    }
    let target = text(1, payload)
    command.name = text(2, payload)
    command.issuedAt = scanner.match(4).flatMap { match in
      match.kind == .string ? WallTime(rfc3339: payload.extracting(match.content)) : nil
    }
    if command.id == nil {
      command.problem = .malformed("commandId must be a text of 1 to 128 bytes")
    } else if target == nil {
      command.problem = .malformed("assetId must be a text")
    } else if command.name == nil {
      command.problem = .malformed("command must be a text")
    } else if command.issuedAt == nil {
      command.problem = .malformed("issuedAt must be an RFC 3339 time")
    } else if target != asset {
      command.problem = .otherAsset
    } else {
      readOrder(of: &command, payload)
    }
    return command
  }

  private func readOrder(of command: inout PumpCommand, _ payload: Span<UInt8>) {
    switch command.name {
    case "stop": command.order = .stop
    case "start": command.order = .start
    case "setRate":
      guard let match = scanner.match(3), match.kind == .number,
        let rate = JSONDouble.value(of: payload.extracting(match.content))
      else {
        command.problem = .malformed("setRate needs rate, a number")
        return
      }
      guard PumpPlan.rateRange.contains(rate) else {
        command.problem = .rateOutOfRange
        return
      }
      command.order = .setRate(rate)
    default: command.problem = .unknownCommand
    }
  }

  private func text(_ index: Int, _ payload: Span<UInt8>) -> String? {
    guard let match = scanner.match(index), match.kind == .string else { return nil }
    var bytes: [UInt8] = []
    JSONString.appendUnescaped(payload.extracting(match.content), to: &bytes)
    return String(decoding: bytes.span)
  }
}

/// The commands that a pump has answered and whose repetition it must know.
struct CommandMemory: Sendable {
  /// Of commands obeyed: none of them is forgotten while it would be obeyed again.
  static let countMax = 64
  /// Of commands refused: the newest, so that an answer does not change with the clock.
  static let refusalsMax = 64

  struct Entry: Sendable {
    let id: String
    let name: String
    let order: PumpOrder?
    let issuedAt: WallTime
    let refusal: CommandRefusal?
  }

  /// Both: oldest answer first.
  private var obeyed: [Entry] = []
  private var refused: [Entry] = []
  /// What is not newer than this may have been obeyed and forgotten.
  private var forgotten = WallTime(nanoseconds: .min)

  func entry(_ id: String) -> Entry? {
    obeyed.last { $0.id == id } ?? refused.last { $0.id == id }
  }

  /// Whether it may be one that was obeyed and forgotten since: then its time is over, even if the
  /// clock has gone back.
  func mayHaveForgotten(issuedAt: WallTime) -> Bool { issuedAt <= forgotten }

  /// Room for one more to obey, made by forgetting what would be refused as expired; false when all
  /// are still in force.
  mutating func makeRoom(before limit: WallTime) -> Bool {
    if obeyed.count < Self.countMax { return true }
    for entry in obeyed where entry.issuedAt < limit { forgotten = max(forgotten, entry.issuedAt) }
    obeyed.removeAll { $0.issuedAt < limit }
    return obeyed.count < Self.countMax
  }

  mutating func remember(_ entry: Entry) {
    if entry.refusal == nil {
      obeyed.append(entry)
    } else {
      if refused.count == Self.refusalsMax { refused.removeFirst() }
      refused.append(entry)
    }
  }
}
