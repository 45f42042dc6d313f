import ArgumentParser
import Control
import GatewayConfiguration
import GatewayCore
import Platform

/// Which agent of this machine a command is about.
struct AgentArguments: ParsableArguments {
  @Option(
    name: [.short, .long],
    help: ArgumentHelp("The gateway's configuration.", valueName: "file"))
  var config: String?

  @Option(
    help: ArgumentHelp(
      "The agent's control socket, instead of --config: control-socket in its data directory.",
      valueName: "path"))
  var socket: String?

  static let standardConfiguration = "/etc/penstock/penstock.yaml"

  func validate() throws {
    if config != nil && socket != nil {
      throw ValidationError("Give --config or --socket, not both.")
    }
  }

  /// The configuration, where one is given or meant.
  func options() throws -> GatewayOptions? {
    guard socket == nil else { return nil }
    return try load(config ?? Self.standardConfiguration, surroundings: .elsewhere).options
  }

  func socketPath(_ options: GatewayOptions?) -> String {
    socket ?? ControlSocket.path(dataDirectory: options?.dataDirectory ?? ".")
  }
}

extension Surroundings {
  /// Of a command that only looks for the agent: what the agent's unit hands to it alone, as
  /// variables and credentials, is not here, and is not needed.
  static var elsewhere: Surroundings {
    Surroundings(
      environment: { Environment.value(of: $0) ?? "unset" }, problemOfSecretFile: { _ in nil },
      problemOfFile: { _ in nil })
  }
}

/// Why there is nobody to ask.
enum AgentAbsence: Error {
  /// Nobody listens there.
  case notRunning(SystemError)
  /// Somebody may, but not to us, or does not answer.
  case unreachable(String)
}

/// A connection to the running agent.
struct Agent: ~Copyable {
  private let client: ControlClient
  private let path: String

  init(socket path: String) throws(AgentAbsence) {
    client = try Self.connect(path)
    self.path = path
  }

  private static func connect(_ path: String) throws(AgentAbsence) -> ControlClient {
    do throws(SystemError) {
      return try ControlClient(path: path)
    } catch {
      throw AgentAbsence(error, path: path)
    }
  }

  /// - Throws: `ControlRefusal` when the agent says no; `AgentAbsence` when it went away.
  func ask(_ request: ControlRequest) throws -> JSONValue {
    do {
      return try client.ask(request)
    } catch let error as SystemError {
      throw AgentAbsence.unreachable(
        "the agent at \(path) does not answer, or has \(ControlSocket.clientsMax) such clients "
          + "already (\(error.reason))")
    }
  }

  func status() throws -> GatewayStatus {
    guard let status = GatewayStatus(try ask(.status)) else {
      throw AgentAbsence.unreachable(
        "the agent at \(path) is of another version, whose status this program cannot read")
    }
    return status
  }
}

extension AgentAbsence {
  init(_ error: SystemError, path: String) {
    if error.isNobodyThere {
      self = .notRunning(error)
    } else if error.isNotPermitted {
      self = .unreachable(
        "\(path) may not be used by this user; run as the gateway's user or as root")
    } else {
      self = .unreachable("\(path) cannot be used (\(error.reason))")
    }
  }

  /// What to say, and the command's end.
  func failure(socket path: String) -> ArgumentParser.ExitCode {
    switch self {
    case .notRunning:
      GatewayCore.ExitCode.unavailable.failure("no agent runs: nobody listens at \(path)")
    case .unreachable(let reason): GatewayCore.ExitCode.unavailable.failure(reason)
    }
  }
}
