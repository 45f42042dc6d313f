import Glibc
import Platform

/// `penstock run` as a child process with a configuration, a data directory and a page port of its
/// own, which stay the same over every stop and start. Goes with the owner.
package final class GatewayUnderTest {
  /// The binary under test stands beside the test bundle.
  package static var executable: String {
    guard let own = Environment.ownExecutable else { return "penstock" }
    return File.directoryName(of: own) + "/penstock"
  }

  private let directory: TemporaryDirectory
  package let dataDirectory: String
  package let pagePort: UInt16
  private let wrapper: [String]
  private var process: ChildProcess?

  /// - Parameters:
  ///   - wrapper: a program and arguments that run it, such as `ip netns exec NAME`.
  ///   - configuration: everything but data directory and `observability`, which are given.
  package init(
    wrapper: [String] = [], _ configuration: (_ dataDirectory: String) -> String
  ) throws {
    let directory = try TemporaryDirectory(prefix: "penstock-under-test")
    dataDirectory = try directory.makeSubdirectory("data")
    pagePort = try Loopback.freePort()
    let text =
      configuration(dataDirectory) + "observability: {listen: \"127.0.0.1:\(pagePort)\"}\n"
    try File.replace(directory.path + "/penstock.yaml", with: Array(text.utf8))
    self.directory = directory
    self.wrapper = wrapper
  }

  private var logPath: String { directory.path + "/log" }
  /// Everything it printed, over all its starts.
  package var log: String { text(of: logPath) }
  package var processID: Int32? { process?.id }

  /// How many lines of the log contain all of `parts`.
  package func logCount(_ parts: String...) -> Int {
    log.split(separator: "\n").count { line in parts.allSatisfy { line.contains($0) } }
  }

  // MARK: - Its life

  package func start(environment: [String: String] = [:]) throws {
    precondition(process == nil, "a gateway is stopped before it is started again")
    var variables = environment
    variables["PATH"] = Environment.value(of: "PATH") ?? "/usr/bin:/bin:/usr/sbin:/sbin"
    let command =
      wrapper + [Self.executable, "run", "--config", directory.path + "/penstock.yaml"]
    process = try ChildProcess(
      executable: command[0], arguments: Array(command.dropFirst()), environment: variables,
      standardOutput: .file(path: logPath), standardError: .file(path: logPath))
  }

  /// SIGTERM; the exit code.
  @discardableResult
  package func stop(within limit: Duration = .seconds(20)) throws -> Int32 {
    guard var child = process.take() else { throw failure("the gateway does not run") }
    let status = try child.stop(atMost: limit)
    guard case .exited(let code) = status else {
      throw failure("the gateway ended with \(status) after SIGTERM")
    }
    return code
  }

  package func kill() throws {
    guard var child = process.take() else { return }
    let status = try child.kill()
    guard status == .killed(signal: SIGKILL) else {
      throw failure("the gateway ended with \(status) by itself")
    }
  }

  /// Waits until `condition` holds; ends early when the gateway does. The pause only paces the
  /// look.
  package func wait(
    for what: String, within limit: Duration = .seconds(30), until condition: () throws -> Bool
  ) throws {
    let deadline = Deadline(in: limit)
    while try !condition() {
      if let status = try process?.wait(atMost: .milliseconds(5)) {
        process = nil
        throw failure("the gateway ended with \(status) while waiting for: \(what)")
      }
      if deadline.isOver { throw failure("waited \(limit) in vain for: \(what)") }
    }
  }

  package func failure(_ what: String) -> TestFailure {
    // What Swift says about a crash begins with stars, and goes on for long.
    let log = log
    let crash = log.firstRange(of: "\n*** ").map { "…\(log[..<$0.lowerBound].suffix(1000))" }
    return TestFailure("\(what)\n--- the gateway's log\n\(crash ?? "")\n…\(log.suffix(3000))")
  }

  // MARK: - What it says about itself

  /// `ok`, `degraded`, …; empty while the page does not answer.
  package func status() throws -> String {
    let body = try healthPage()
    guard body.hasPrefix("{\"status\":\"") else { return "" }
    return String(body.dropFirst(11).prefix { $0 != "\"" })
  }

  package func healthPage() throws -> String {
    try LoopbackHTTP.get("/healthz", port: pagePort)?.body ?? ""
  }

  /// The sum over all series of `name` whose labels contain `label`; 0 when there is none.
  package func metric(_ name: String, _ label: String = "") throws -> Double {
    let page = try LoopbackHTTP.get("/metrics", port: pagePort)?.body ?? ""
    var sum = 0.0
    for line in page.split(separator: "\n") where line.hasPrefix(name) {
      let rest = line.dropFirst(name.utf8.count)
      guard rest.first == "{" || rest.first == " ", rest.contains(label) else { continue }
      sum += rest.split(separator: " ").last.flatMap { Double($0) } ?? 0
    }
    return sum
  }

  /// A line of /proc/PID/status in KiB: `VmHWM` is the peak, `VmRSS` what is resident now.
  package func memory(_ name: String) throws -> Int {
    guard let id = process?.id else { throw failure("the gateway does not run") }
    for line in text(of: "/proc/\(id)/status").split(separator: "\n")
    where line.hasPrefix(name + ":") {
      return Int(line.split(separator: " ").dropLast().last ?? "") ?? 0
    }
    throw failure("no \(name) of the gateway")
  }
}

private func text(of path: String) -> String {
  guard let bytes = try? File.readSmall(path, byteCountMax: 256 << 20) else { return "" }
  return String(decoding: bytes, as: UTF8.self)
}
