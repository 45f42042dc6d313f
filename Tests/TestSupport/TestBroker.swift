import Glibc
package import Platform

/// A real Mosquitto broker for one test: own process, directory and loopback port, everything
/// logged. The process and the directory go with the owner. (The broker of the audit can do more;
/// it stands above the modules whose tests need this one.)
package struct TestBroker: ~Copyable, Sendable {
  package let port: UInt16
  package let directory: TemporaryDirectory
  private var process: ChildProcess?

  package var logPath: String { "\(directory.path)/log" }

  /// Starts a broker and waits until it runs. `makeConfiguration` gets the directory and returns
  /// lines to add; without a `listener` option it may not name, because the port is ours.
  package init(_ makeConfiguration: (_ directory: String) throws -> String = { _ in "" }) throws {
    let directory = try TemporaryDirectory(prefix: "penstock-test-broker")
    let extra = try makeConfiguration(directory.path)
    var attemptsLeft = 5
    while true {
      let port = try Loopback.freePort()
      let lines = [
        "listener \(port) 127.0.0.1", "log_dest stderr", "log_type all",
        "connection_messages true", geteuid() == 0 ? "user root" : "",
        extra.contains("allow_anonymous") ? "" : "allow_anonymous true", extra,
      ]
      try File.replace(
        "\(directory.path)/conf", with: Array((lines.joined(separator: "\n") + "\n").utf8))
      do {
        let process = try Self.launch(directory.path, port: port)
        self.process = consume process
        self.port = port
        self.directory = directory
        return
      } catch {
        attemptsLeft -= 1
        if attemptsLeft == 0 { throw error }
      }
    }
  }

  private static func launch(_ directory: String, port: UInt16) throws -> ChildProcess {
    guard let program = Environment.executable(named: "mosquitto") else {
      throw TestFailure("mosquitto is not installed: apt-get install mosquitto")
    }
    let log = "\(directory)/log"
    let earlier = TestBroker.text(of: log)
    var process = try ChildProcess(
      executable: program, arguments: ["-c", "\(directory)/conf"],
      standardOutput: .file(path: log), standardError: .file(path: log))
    let deadline = Deadline(in: .seconds(20))
    while !(TestBroker.text(of: log).dropFirst(earlier.count).contains(" running\n")
      && Loopback.answers(port: port))
    {
      let ended = try process.wait(atMost: .milliseconds(3))
      if ended != nil || deadline.isOver {
        throw TestFailure("the broker did not start: \(TestBroker.text(of: log))")
      }
    }
    return process
  }

  /// What the broker has logged, over all its starts.
  package var log: String { TestBroker.text(of: logPath) }

  /// How many lines of the log contain all of `parts`.
  package func logCount(_ parts: String...) -> Int {
    log.split(separator: "\n").count { line in parts.allSatisfy { line.contains($0) } }
  }

  /// Waits until `condition` holds for the log.
  package func waitForLog(
    within limit: Duration = .seconds(20), _ condition: (String) -> Bool
  ) throws {
    let deadline = Deadline(in: limit)
    while !condition(log) {
      guard !deadline.isOver else {
        throw TestFailure("not in the broker's log:\n\(log.suffix(4000))")
      }
      // Paced by the one thing that may also go wrong: the end of the broker.
      _ = poll(nil, 0, 2)
    }
  }

  /// SIGKILL.
  package mutating func kill() throws {
    try process?.kill()
    process = nil
  }

  /// SIGTERM: saves its database, if it has persistence.
  package mutating func terminate() throws {
    _ = try process?.stop(atMost: .seconds(20))
    process = nil
  }

  /// On the same port and with what it had saved.
  package mutating func start() throws {
    precondition(process == nil, "a broker is stopped before it is started again")
    process = try Self.launch(directory.path, port: port)
  }

  /// SIGSTOP and SIGCONT make a silent peer.
  package func send(signal: Int32) { process?.send(signal: signal) }

  private static func text(of path: String) -> String {
    guard let bytes = try? File.readSmall(path, byteCountMax: 256 << 20) else { return "" }
    return String(decoding: bytes, as: UTF8.self)
  }
}
