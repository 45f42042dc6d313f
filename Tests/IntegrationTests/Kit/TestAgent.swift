import Glibc
import Platform
import TestSupport

/// `penstock run` as a child process with a configuration, a data directory and a page port of its
/// own, which stay the same over every stop and start. Goes with the owner.
final class TestAgent {
  /// Written anew at each start.
  var file: GatewayFile
  let directory: TemporaryDirectory
  let observabilityPort: UInt16
  let dataDirectory: String
  private var process: ChildProcess?

  init(_ file: GatewayFile, dataDirectory: String? = nil, observabilityPort: UInt16? = nil) throws {
    self.file = file
    directory = try TemporaryDirectory(prefix: "penstock-integration")
    self.observabilityPort = try observabilityPort ?? Loopback.freePort()
    if let dataDirectory {
      self.dataDirectory = dataDirectory
    } else {
      self.dataDirectory = try directory.makeSubdirectory("data")
    }
  }

  var path: String { directory.path }
  var configurationPath: String { path + "/penstock.yaml" }
  var journalPath: String { dataDirectory + "/telemetry.journal" }
  /// Everything it printed, over all its starts.
  var log: String { text(of: path + "/agent.log") }
  var processID: Int32? { process?.id }

  func writeConfiguration() throws {
    let text = file.text(dataDirectory: dataDirectory, observabilityPort: observabilityPort)
    try File.replace(configurationPath, with: Array(text.utf8))
  }

  /// Starts it and returns at once. `wrapper`: a program and arguments that run it; `arguments`: of
  /// `run`, beside the configuration.
  func start(
    environment: [String: String] = [:], wrapper: [String] = [], arguments: [String] = []
  ) throws {
    precondition(process == nil, "an agent is stopped before it is started again")
    try writeConfiguration()
    var variables = environment
    variables["PATH"] = Environment.value(of: "PATH") ?? "/usr/bin:/bin"
    let command = wrapper + [Command.penstock, "run", "--config", configurationPath] + arguments
    process = try ChildProcess(
      executable: command[0], arguments: Array(command.dropFirst()), environment: variables,
      standardOutput: .file(path: path + "/agent.log"),
      standardError: .file(path: path + "/agent.log"))
  }

  /// Starts it and waits until it receives and delivers.
  func startConnected() throws {
    try start()
    try wait(for: "the agent to be connected on both sides") { try status() == "ok" }
  }

  /// SIGTERM; the exit code.
  @discardableResult
  func stop(within limit: Duration = .seconds(20)) throws -> Int32 {
    guard var child = process.take() else { throw TestFailure("the agent does not run") }
    let status = try child.stop(atMost: limit)
    guard case .exited(let code) = status else {
      throw TestFailure("the agent ended with \(status) after SIGTERM:\n\(log.suffix(3000))")
    }
    return code
  }

  func send(signal: Int32) { process?.send(signal: signal) }

  /// Whether it stands still after a SIGSTOP (proc(5), state T).
  var isPaused: Bool {
    guard let id = process?.id else { return false }
    return text(of: "/proc/\(id)/stat").contains(") T ")
  }

  func kill() throws {
    guard var child = process.take() else { return }
    try child.kill()
  }

  /// Waits for an end that nobody asked for; the exit code.
  func waitForEnd(within limit: Duration = .seconds(20)) throws -> Int32 {
    guard var child = process.take() else { throw TestFailure("the agent does not run") }
    guard case .exited(let code)? = try child.wait(atMost: limit) else {
      throw TestFailure("the agent did not end within \(limit):\n\(log.suffix(3000))")
    }
    return code
  }

  /// The exit code of an agent that has ended by itself, which may then be started again; nil while
  /// it runs.
  func endedCode() -> Int32? {
    guard case .exited(let code)? = try? process?.wait(atMost: .zero) else { return nil }
    process = nil
    return code
  }

  /// Whether a SIGKILL has ended it; it may then be started again.
  func wasKilled() -> Bool {
    guard case .killed(signal: SIGKILL)? = try? process?.wait(atMost: .zero) else { return false }
    process = nil
    return true
  }

  /// Waits for the end by a SIGKILL that somebody else, or it itself, has sent.
  func waitForKill(within limit: Duration = .seconds(10)) throws {
    guard var child = process.take() else { return }
    guard case .killed(signal: SIGKILL)? = try child.wait(atMost: limit) else {
      throw TestFailure("the agent was not killed")
    }
  }

  /// `wait`, that ends early and tells the log when the agent ends or the time is up.
  func wait(
    for what: String, within limit: Duration = .seconds(30), until condition: () throws -> Bool
  ) throws {
    do {
      try IntegrationTests.wait(for: what, within: limit) {
        if let ended = try process?.wait(atMost: .zero) {
          throw TestFailure("the agent ended with \(ended) while waiting for: \(what)")
        }
        return try condition()
      }
    } catch let failure as TestFailure {
      throw TestFailure("\(failure)\n--- agent's log\n\(log.suffix(3000))")
    }
  }

  // MARK: - Its pages

  /// The health page, as text; empty while it does not answer.
  func health() throws -> (code: Int, body: String) {
    try LoopbackHTTP.get("/healthz", port: observabilityPort) ?? (0, "")
  }

  /// `ok`, `degraded`, …; empty while the page does not answer.
  func status() throws -> String {
    let body = try health().body
    guard body.hasPrefix("{\"status\":\"") else { return "" }
    return String(body.dropFirst(11).prefix { $0 != "\"" })
  }

  func metricsPage() throws -> String {
    try LoopbackHTTP.get("/metrics", port: observabilityPort)?.body ?? ""
  }

  /// The sum over all series of `name` whose labels contain `label`; nil when there is none.
  func metric(_ name: String, _ label: String = "") throws -> Double? {
    var sum: Double?
    for line in try metricsPage().split(separator: "\n") where line.hasPrefix(name) {
      let rest = line.dropFirst(name.utf8.count)
      guard rest.first == "{" || rest.first == " ", rest.contains(label),
        let value = rest.split(separator: " ").last.flatMap({ Double($0) })
      else { continue }
      sum = (sum ?? 0) + value
    }
    return sum
  }
}
