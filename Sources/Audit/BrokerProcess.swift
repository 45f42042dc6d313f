import GatewayCore
import Glibc
package import Mosquitto
import Platform

/// A private, real Mosquitto broker: own process, own directory, own loopback port.
///
/// Promise: after `start()` returned, the broker accepts connections on `port`, and that broker is
/// ours; the port stays the same over every stop and start; when the owner goes, the process and
/// its directory go. One owner at a time; any thread.
package struct BrokerProcess: ~Copyable, Sendable {
  /// Named in errors: `field`, `central`.
  package let name: String
  package let options: BrokerOptions
  package private(set) var port: UInt16
  private var directory: TemporaryDirectory
  private var process: ChildProcess?
  /// One log file per start.
  private var startCount = 0

  /// Prepares the broker; nothing runs until `start()`. `port` nil picks a free one; a given one
  /// that turns out to be taken at the first start is given up for a free one too.
  package init(
    name: String, options: BrokerOptions = BrokerOptions(), port: UInt16? = nil
  ) throws(BrokerProcessError) {
    let chosen = try Self.mapped(name) { () throws(SystemError) in
      if let port { port } else { try Loopback.freePort() }
    }
    let directory = try Self.directory(name)
    self.name = name
    self.options = options
    self.port = chosen
    self.directory = directory
  }

  /// Whether mosquitto is installed here: tests that need it ask first.
  package static var isAvailable: Bool { Environment.executable(named: "mosquitto") != nil }

  package var endpoint: BrokerEndpoint {
    BrokerEndpoint(host: "127.0.0.1", port: port, usesTLS: options.tls != nil)
  }

  package var directoryPath: String { directory.path }

  /// nil: it does not run.
  package var processID: Int32? {
    switch process {
    case .some(let child): child.id
    case .none: nil
    }
  }

  /// Keeps the directory when the owner goes.
  package mutating func keepDirectory() { directory.isKept = true }

  /// Starts the broker, or starts it again on the same port and with what it had saved. Returns
  /// when it accepts connections; throws after `timeout`, with the end of its log.
  package mutating func start(timeout: Duration = .seconds(10)) throws(BrokerProcessError) {
    precondition(process == nil, "a broker is stopped before it is started again")
    let isFirstStart = startCount == 0
    // Between our look for a free port and the broker's bind somebody else may take it. Only before
    // the first start may we move to another one.
    var attemptsLeft = isFirstStart ? 5 : 1
    while true {
      do throws(BrokerProcessError) {
        return try launch(timeout: timeout)
      } catch {
        attemptsLeft -= 1
        guard error.code == .portTaken, attemptsLeft > 0, let other = try? Loopback.freePort()
        else { throw error }
        port = other
      }
    }
  }

  /// SIGTERM: the broker saves its database (when `persistence` is on) and ends. What it had
  /// acknowledged survives.
  package mutating func terminate(
    timeout: Duration = .seconds(20)
  ) throws(BrokerProcessError) {
    guard let ended = try end({ (child) throws(SystemError) in try child.stop(atMost: timeout) })
    else { return }
    guard ended == .exited(code: 0) else {
      throw BrokerProcessError(
        .badExit, broker: name, detail: "it ended with \(ended) after SIGTERM\n\(logTail)")
    }
  }

  /// SIGKILL: as a crash. What the broker held in memory is lost, acknowledged or not.
  package mutating func kill() throws(BrokerProcessError) {
    _ = try end { (child) throws(SystemError) in try child.kill() }
  }

  package mutating func restart() throws(BrokerProcessError) {
    try terminate()
    try start()
  }

  /// Pauses (SIGSTOP) or resumes (SIGCONT) the broker: a peer that is silent, not gone.
  package func send(signal: Int32) { process?.send(signal: signal) }

  /// Everything the broker has logged, over all its starts (at most 64 MiB of each).
  package var log: String {
    (0..<startCount).map { log(ofStart: $0 + 1) }.joined()
  }

  /// Waits until what the broker has logged since its present start contains `text`; false after
  /// `timeout`, or when the broker has ended.
  package mutating func waitForLog(
    _ text: String, timeout: Duration
  ) throws(BrokerProcessError) -> Bool {
    let deadline = Clock.monotonic().nanoseconds + timeout.nanoseconds
    while !log(ofStart: startCount).contains(text) {
      guard Clock.monotonic().nanoseconds < deadline, var child = process.take() else {
        return false
      }
      let status = try wait(for: &child)
      process = consume child
      if status != nil { return false }
    }
    return true
  }

  /// The path of the present log file, for readers that follow it.
  package var logPath: String { logPath(ofStart: startCount) }
}

extension BrokerProcess {
  private func logPath(ofStart number: Int) -> String {
    "\(directory.path)/mosquitto-\(number).log"
  }

  private func log(ofStart number: Int) -> String {
    guard let bytes = try? File.readSmall(logPath(ofStart: number), byteCountMax: 64 << 20)
    else { return "" }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// System errors as errors of this broker.
  private static func mapped<Value>(
    _ name: String, _ body: () throws(SystemError) -> Value
  ) throws(BrokerProcessError) -> Value {
    do throws(SystemError) {
      return try body()
    } catch {
      throw BrokerProcessError(.system, broker: name, detail: error.description)
    }
  }

  private static func directory(_ name: String) throws(BrokerProcessError) -> TemporaryDirectory {
    do throws(SystemError) {
      return try TemporaryDirectory(prefix: "penstock-\(name)")
    } catch {
      throw BrokerProcessError(.system, broker: name, detail: error.description)
    }
  }

  private var logTail: String {
    log(ofStart: startCount).split(separator: "\n").suffix(8).joined(separator: "\n")
  }

  private mutating func launch(timeout: Duration) throws(BrokerProcessError) {
    guard let program = Environment.executable(named: "mosquitto") else {
      throw BrokerProcessError(.notInstalled, broker: name, detail: "")
    }
    startCount += 1
    var child: ChildProcess
    do throws(SystemError) {
      try writeFiles()
      child = try ChildProcess(
        executable: program, arguments: ["-c", "\(directory.path)/mosquitto.conf"],
        standardOutput: .file(path: logPath), standardError: .file(path: logPath))
    } catch {
      throw BrokerProcessError(.system, broker: name, detail: error.description)
    }
    // "running" comes after the bind. The connection alone would not do: it could be answered by
    // somebody who took the port.
    let deadline = Clock.monotonic().nanoseconds + timeout.nanoseconds
    while !(log(ofStart: startCount).contains(" running\n") && Loopback.answers(port: port)) {
      if let ended = try wait(for: &child) {
        let isTaken = logTail.contains("Address already in use")
        throw BrokerProcessError(
          isTaken ? .portTaken : .badExit, broker: name,
          detail: "it ended with \(ended) while starting on port \(port)\n\(logTail)")
      }
      if Clock.monotonic().nanoseconds > deadline {
        throw BrokerProcessError(
          .notReady, broker: name, detail: "no answer on port \(port) in \(timeout)\n\(logTail)")
      }
    }
    process = consume child
  }

  /// Waits a moment, or less when the child ends: paces the look at log and port.
  private func wait(
    for child: inout ChildProcess
  ) throws(BrokerProcessError) -> ChildProcess.ExitStatus? {
    do throws(SystemError) {
      return try child.wait(atMost: .milliseconds(3))
    } catch {
      throw BrokerProcessError(.system, broker: name, detail: error.description)
    }
  }

  private func writeFiles() throws(SystemError) {
    let text = options.configuration(
      port: port, directory: directory.path, runsAsRoot: geteuid() == 0)
    try File.replace("\(directory.path)/mosquitto.conf", with: Array(text.utf8))
    if let passwords = options.passwordFile {
      try File.replace("\(directory.path)/passwords", with: Array(passwords.utf8))
    }
    if let list = options.accessControlList {
      try File.replace("\(directory.path)/acl", with: Array(list.utf8))
    }
  }

  private mutating func end(
    _ body: (inout ChildProcess) throws(SystemError) -> ChildProcess.ExitStatus
  ) throws(BrokerProcessError) -> ChildProcess.ExitStatus? {
    guard var child = process.take() else { return nil }
    do throws(SystemError) {
      return try body(&child)
    } catch {
      throw BrokerProcessError(.system, broker: name, detail: error.description)
    }
  }
}

/// Why a private broker could not be had.
package struct BrokerProcessError: Error, Sendable, Hashable, CustomStringConvertible {
  package enum Code: Sendable, Hashable {
    case notInstalled
    case portTaken
    case notReady
    case badExit
    case system
  }

  package let code: Code
  package let broker: String
  package let detail: String

  init(_ code: Code, broker: String, detail: String) {
    self.code = code
    self.broker = broker
    self.detail = detail
  }

  package var description: String {
    switch code {
    case .notInstalled:
      "broker \(broker): mosquitto is not installed (looked in PATH, /usr/bin, /usr/sbin). "
        + "Install it: apt-get install mosquitto"
    case .portTaken:
      "broker \(broker): its port was taken by another program; run again. \(detail)"
    case .notReady, .badExit, .system: "broker \(broker): \(detail)"
    }
  }
}
