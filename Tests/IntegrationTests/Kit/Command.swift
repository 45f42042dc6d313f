import GatewayCore
import Platform
import TestSupport

/// A program that ran to its end.
struct Command {
  /// The binary under test stands beside the test bundle.
  static var penstock: String {
    guard let own = Environment.ownExecutable else { return "penstock" }
    return File.directoryName(of: own) + "/penstock"
  }

  let status: ChildProcess.ExitStatus
  let output: String
  let error: String
  let duration: Duration

  var code: Int32? { if case .exited(let code) = status { code } else { nil } }

  /// Runs `penstock` with these arguments.
  init(
    _ arguments: String..., environment: [String: String] = [:],
    within limit: Duration = .seconds(30)
  ) throws {
    try self.init(
      executable: Self.penstock, arguments: arguments, environment: environment, within: limit)
  }

  /// Runs a program of the system.
  init(tool: String, _ arguments: [String], within limit: Duration = .seconds(60)) throws {
    guard let program = Environment.executable(named: tool) else {
      throw TestFailure("\(tool) is not installed")
    }
    try self.init(executable: program, arguments: arguments, environment: [:], within: limit)
  }

  init(
    executable: String, arguments: [String], environment: [String: String], within limit: Duration
  ) throws {
    let directory = try TemporaryDirectory(prefix: "penstock-command")
    var variables = environment
    variables["PATH"] = Environment.value(of: "PATH") ?? "/usr/bin:/bin"
    let start = Clock.monotonic()
    var process = try ChildProcess(
      executable: executable, arguments: arguments, environment: variables,
      standardOutput: .file(path: directory.path + "/output"),
      standardError: .file(path: directory.path + "/error"))
    let ended = try process.wait(atMost: limit)
    duration = Clock.monotonic().since(start)
    output = text(of: directory.path + "/output")
    error = text(of: directory.path + "/error")
    guard let ended else {
      throw TestFailure("\(executable) \(arguments) does not end within \(limit): \(error)")
    }
    status = ended
  }
}
