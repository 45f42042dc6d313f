// The control socket: how the commands of this machine's operator talk to the running agent.
//
// A Unix socket in the data directory, mode 0600: whoever may connect may read the journals
// anyhow. No port is opened. A client writes one line, a JSON object; the agent answers with one
// line, a JSON object; the client may write the next line then, and ends by closing.
//
//     {"command":"status"}
//     {"command":"drain","routes":["telemetry"],"end_session":true}
//     {"command":"stop"}
//
// An answer has either `error`, a sentence for people, or what was asked for. Names that a reader
// does not know are to be passed over; a name that is there keeps its meaning.

import GatewayCore

/// Limits of both sides of the control socket.
package enum ControlSocket {
  /// Clients at a time; more are closed at once.
  package static let clientsMax = 8
  /// Bytes of a request, newline included.
  package static let requestByteCountMax = 4096
  /// Bytes of an answer: all that 32 routes with 8 destinations each can say of themselves.
  package static let answerByteCountMax = 4 << 20
  /// From the connect, or the end of one answer, to the end of the next request; and for a client
  /// to take an answer.
  package static let patience: Duration = .seconds(10)

  package static func path(dataDirectory: String) -> String {
    "\(dataDirectory)/\(DataDirectory.controlSocketName)"
  }
}

/// What an operator can ask of the agent.
package enum ControlRequest: Sendable, Hashable {
  case status
  /// Receive no more and deliver everything; of these routes, or of all when none is named.
  case drain(routes: [String], endsSession: Bool)
  /// End the process as SIGTERM does.
  case stop

  package var json: JSONValue {
    JSONValue.object { object in
      switch self {
      case .status: object.put("command", "status")
      case .drain(let routes, let endsSession):
        object.put("command", "drain")
        object.put("routes", routes.map { JSONValue.string($0) })
        object.put("end_session", endsSession)
      case .stop: object.put("command", "stop")
      }
    }
  }

  /// - Throws: `ControlRefusal`, when it is none.
  package init(_ line: Span<UInt8>) throws(ControlRefusal) {
    guard let json = JSONValue(line), let command = json["command"]?.string else {
      throw ControlRefusal("a request is one line, a JSON object with a command")
    }
    switch command {
    case "status": self = .status
    case "drain":
      let names = json["routes"]?.elements ?? []
      let routes = names.compactMap(\.string)
      guard routes.count == names.count else { throw ControlRefusal("routes is a list of names") }
      self = .drain(routes: routes, endsSession: json["end_session"]?.bool ?? false)
    case "stop": self = .stop
    default: throw ControlRefusal("\(command) is no command of this version")
    }
  }
}

/// Why a request is not honoured, in a sentence.
package struct ControlRefusal: Error, Sendable, Hashable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }

  package var json: JSONValue { JSONValue.object { $0.put("error", description) } }
}

/// Who answers. Called on the control thread, one request at a time: it never blocks for long.
package protocol ControlHandler: Sendable {
  func answer(_ request: ControlRequest) throws(ControlRefusal) -> JSONValue
  /// Between requests, about every `ControlServer.turn`: time to look at what moves.
  func observe()
}
