import Audit
import Glibc
import Platform
import TestSupport

/// `penstock run` on a data directory that the test chose. Goes with the owner.
final class GatewayProcess {
  /// The binary under test stands beside the test bundle.
  static var executable: String {
    guard let own = Environment.ownExecutable else { return "penstock" }
    return File.directoryName(of: own) + "/penstock"
  }

  private let directory: TemporaryDirectory
  private let options: AgentOptions
  private let dataDirectory: String
  private var process: ChildProcess?

  init(_ options: AgentOptions, dataDirectory: String) throws {
    directory = try TemporaryDirectory(prefix: "penstock-gateway")
    self.options = options
    self.dataDirectory = dataDirectory
    try File.replace(
      directory.path + "/penstock.yaml",
      with: Array(options.configuration(dataDirectory: dataDirectory).utf8))
  }

  var path: String { directory.path }
  var journalPath: String { dataDirectory + "/telemetry.journal" }
  /// Everything it printed, over all its starts.
  var log: String { text(of: path + "/gateway.log") }

  /// Starts it and returns at once. `wrapper`: a program and arguments that run it.
  @discardableResult
  func start(environment: [String: String] = [:], wrapper: [String] = []) throws -> Int32 {
    precondition(process == nil, "a gateway is stopped before it is started again")
    var variables = environment
    variables["PATH"] = Environment.value(of: "PATH") ?? "/usr/bin:/bin"
    let command = wrapper + [Self.executable, "run", "--config", path + "/penstock.yaml"]
    let started = try ChildProcess(
      executable: command[0], arguments: Array(command.dropFirst()), environment: variables,
      standardOutput: .file(path: path + "/gateway.log"),
      standardError: .file(path: path + "/gateway.log"))
    let id = started.id
    process = consume started
    return id
  }

  /// How it ended; nil while it runs. It may then be started again.
  func ended(within limit: Duration = .zero) throws -> ChildProcess.ExitStatus? {
    guard let status = try process?.wait(atMost: limit) else { return nil }
    process = nil
    return status
  }

  /// Waits for an end that nobody asked for; the exit code.
  func waitForEnd(within limit: Duration = .seconds(20)) throws -> Int32 {
    guard case .exited(let code)? = try ended(within: limit) else {
      throw failure("the gateway did not end by itself within \(limit)")
    }
    return code
  }

  /// SIGTERM; the exit code.
  func stop(within limit: Duration = .seconds(20)) throws -> Int32 {
    guard var child = process.take() else { throw failure("the gateway does not run") }
    guard case .exited(let code) = try child.stop(atMost: limit) else {
      throw failure("the gateway does not end after SIGTERM")
    }
    return code
  }

  /// SIGKILL. Under a wrapper such as strace it is the gateway that dies, and the wrapper ends with
  /// it: a gateway that outlives its wrapper would go on for ever, and one day meet the brokers of
  /// another test on its old ports.
  func kill() throws {
    guard var child = process.take() else { return }
    let children = text(of: "/proc/\(child.id)/task/\(child.id)/children")
    for id in children.split(separator: " ").compactMap({ Int32($0) }) {
      _ = Glibc.kill(id, SIGKILL)
    }
    if !children.isEmpty, try child.wait(atMost: .seconds(10)) != nil { return }
    try child.kill()
  }

  /// Waits until `condition` holds; ends early when the gateway does. The pause only paces the
  /// look.
  func wait(
    for what: String, within limit: Duration = .seconds(30), until condition: () throws -> Bool
  ) throws {
    let deadline = Deadline(in: limit)
    while try !condition() {
      if let status = try ended(within: .milliseconds(2)) {
        throw failure("the gateway ended with \(status) while waiting for: \(what)")
      }
      if deadline.isOver { throw failure("waited \(limit) in vain for: \(what)") }
    }
  }

  func failure(_ what: String) -> TestFailure {
    TestFailure("\(what)\n--- the gateway's log\n\(log.suffix(3000))")
  }
}
