import GatewayCore
import Glibc
import Hub
import Platform
import TestSupport

/// `penstock-hub run` as a child process with a configuration, a database and a page port of its
/// own, which stay the same over every stop and start. Goes with the owner.
final class HubUnderTest {
  static var executable: String {
    guard let own = Environment.ownExecutable else { return "penstock-hub" }
    return File.directoryName(of: own) + "/penstock-hub"
  }

  private let directory: TemporaryDirectory
  let pagePort: UInt16
  /// A file of its own, or the URL that was given.
  let database: String
  private var process: ChildProcess?

  var path: String { directory.path }
  var configuration: String { directory.path + "/hub.yaml" }

  /// - Parameter name: tells several hubs on one database apart at the broker.
  init(
    centralPort: UInt16, database: String? = nil, name: String = "hub-1", lines: [String] = []
  ) throws {
    directory = try TemporaryDirectory(prefix: "penstock-hub-under-test")
    pagePort = try Loopback.freePort()
    self.database = database ?? directory.path + "/hub.sqlite"
    let text =
      ([
        "hub: {id: hub-1, database: \"\(self.database)\"}",
        "broker: {url: \"mqtt://127.0.0.1:\(centralPort)\", client_id: penstock-hub-\(name)}",
        "observability: {listen: \"127.0.0.1:\(pagePort)\"}",
      ] + lines).joined(separator: "\n") + "\n"
    try File.replace(directory.path + "/hub.yaml", with: Array(text.utf8))
  }

  /// Everything it printed, over all its starts.
  var log: String { text(of: path + "/log") }

  func start(environment: [String: String] = [:]) throws {
    precondition(process == nil, "a hub is stopped before it is started again")
    var variables = environment
    variables["PATH"] = Environment.value(of: "PATH") ?? "/usr/bin:/bin"
    process = try ChildProcess(
      executable: Self.executable, arguments: ["run", "--config", configuration],
      environment: variables, standardOutput: .file(path: path + "/log"),
      standardError: .file(path: path + "/log"))
  }

  func startConnected() throws {
    try start()
    try wait(for: "the hub to be connected") { try metric("penstock_hub_connected") == 1 }
  }

  /// SIGTERM; the exit code.
  @discardableResult
  func stop() throws -> Int32 {
    guard var child = process.take() else { throw failure("the hub does not run") }
    guard case .exited(let code) = try child.stop(atMost: .seconds(20)) else {
      throw failure("the hub did not end in order")
    }
    return code
  }

  func kill() throws {
    guard var child = process.take() else { return }
    _ = try child.kill()
  }

  /// Whether a SIGKILL has ended it; it may then be started again.
  func wasKilled() -> Bool {
    guard case .killed(signal: SIGKILL)? = try? process?.wait(atMost: .zero) else { return false }
    process = nil
    return true
  }

  func wait(
    for what: String, within limit: Duration = .seconds(60), until condition: () throws -> Bool
  ) throws {
    let deadline = Deadline(in: limit)
    while try !condition() {
      if let status = try process?.wait(atMost: .milliseconds(20)) {
        process = nil
        throw failure("the hub ended with \(status) while waiting for: \(what)")
      }
      if process == nil { _ = poll(nil, 0, 20) }
      if deadline.isOver { throw failure("waited \(limit) in vain for: \(what)") }
    }
  }

  func failure(_ what: String) -> TestFailure {
    let log = log
    // A crash tells its reason first, and all threads and registers behind it.
    let crash = ["Fatal error", "Crash:"].compactMap { log.firstRange(of: $0)?.lowerBound }.min()
    let text = crash.map { log[$0...].prefix(6000) } ?? log.suffix(3000)
    return TestFailure("\(what)\n--- the hub's log\n…\(text)")
  }

  /// The sum over all series of `name` whose labels contain `label`; 0 when there is none.
  func metric(_ name: String, _ label: String = "") throws -> Double {
    let page = try LoopbackHTTP.get("/metrics", port: pagePort)?.body ?? ""
    var sum = 0.0
    for line in page.split(separator: "\n") where line.hasPrefix(name) {
      let rest = line.dropFirst(name.utf8.count)
      guard rest.first == "{" || rest.first == " ", rest.contains(label) else { continue }
      sum += rest.split(separator: " ").last.flatMap { Double($0) } ?? 0
    }
    return sum
  }

  /// Runs a command of the program that looks at this hub's database; its output and exit code.
  func command(_ arguments: String...) throws -> (output: String, code: Int32) {
    let output = path + "/output"
    try File.remove(output)
    var child = try ChildProcess(
      executable: Self.executable, arguments: arguments + ["--config", configuration],
      standardOutput: .file(path: output), standardError: .file(path: output))
    guard case .exited(let code)? = try child.wait(atMost: .seconds(60)) else {
      throw failure("\(arguments) did not end")
    }
    return (text(of: output), code)
  }

  /// A follower with a database of its own.
  func follow(_ state: String) throws -> ChildProcess {
    try ChildProcess(
      executable: Self.executable,
      arguments: ["follow", "--config", configuration, "--state", state],
      standardOutput: .file(path: path + "/follower.log"),
      standardError: .file(path: path + "/follower.log"))
  }

  /// What is in the database, beside the hub.
  func store() throws -> any HubStore { try HubDatabase(database).open(.read) }

  func events() throws -> [HubEvent] {
    guard let store = try? store() else { return [] }
    var events: [HubEvent] = []
    try store.forEachEvent(EventQuery()) { events.append($0) }
    return events
  }
}

func text(of path: String) -> String {
  guard let bytes = try? File.readSmall(path, byteCountMax: 256 << 20) else { return "" }
  return String(decoding: bytes, as: UTF8.self)
}
