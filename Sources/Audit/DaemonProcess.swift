import GatewayCore
import Glibc
import Platform

/// A program of ours under audit: `penstock run` or `penstock-hub run` as a child process, started,
/// killed and started again on one configuration and one data directory.
package struct DaemonProcess: ~Copyable, Sendable {
  /// Of the role in the audit: names its files and stands in errors.
  package let name: String
  package let executable: String
  private var directory: TemporaryDirectory
  private let environment: [String: String]
  /// Everything it prints, over all its starts.
  package let logPath: String
  private var process: ChildProcess?
  package private(set) var startCount = 0

  /// - Parameters:
  ///   - environment: the process's whole environment beyond PATH.
  ///   - configuration: the text of its file, given the directory for its data.
  package init(
    name: String, executable: String, environment: [String: String] = [:],
    configuration: (_ dataDirectory: String) -> String
  ) throws(DaemonError) {
    let directory = try Self.prepare(name, configuration)
    self.name = name
    self.executable = executable
    self.environment = environment
    logPath = "\(directory.path)/\(name).log"
    self.directory = directory
  }

  package var directoryPath: String { directory.path }
  package var dataPath: String { directory.path + "/data" }
  package var configurationPath: String { "\(directory.path)/\(name).yaml" }

  /// Keeps configuration, log and journal when the owner goes.
  package mutating func keepDirectory() { directory.isKept = true }

  /// Starts it and returns at once: it recovers and connects in its own time. `more`: added to the
  /// environment for this life alone.
  package mutating func start(environment more: [String: String] = [:]) throws(DaemonError) {
    precondition(process == nil, "a process is stopped before it is started again")
    var variables = environment.merging(more) { $1 }
    variables["PATH"] = Environment.value(of: "PATH") ?? "/usr/bin:/bin"
    startCount += 1
    do throws(SystemError) {
      process = try ChildProcess(
        executable: executable, arguments: ["run", "--config", configurationPath],
        environment: variables, standardOutput: .file(path: logPath),
        standardError: .file(path: logPath))
    } catch {
      throw DaemonError(detail: error.description, log: logTail)
    }
  }

  /// SIGKILL, anywhere in whatever it was doing.
  package mutating func kill() throws(DaemonError) {
    guard var child = process.take() else { return }
    let status: ChildProcess.ExitStatus
    do throws(SystemError) {
      status = try child.kill()
    } catch {
      throw DaemonError(detail: error.description, log: logTail)
    }
    // What ended by itself before our signal has a story to tell.
    guard status == .killed(signal: SIGKILL) else { throw endedByItself(status) }
  }

  /// Waits for the SIGKILL that it was told to send itself; false after `limit`, and it runs
  /// on. Throws when it ended in another way.
  package mutating func waitForKill(atMost limit: Duration) throws(DaemonError) -> Bool {
    let status: ChildProcess.ExitStatus?
    do throws(SystemError) {
      status = try process?.wait(atMost: limit) ?? nil
    } catch {
      throw DaemonError(detail: error.description, log: logTail)
    }
    guard let status else { return false }
    guard status == .killed(signal: SIGKILL) else { throw endedByItself(status) }
    process = nil
    return true
  }

  package func send(signal: Int32) { process?.send(signal: signal) }

  /// SIGTERM, and a clean end: the exit code must be 0.
  package mutating func stop(timeout: Duration = .seconds(30)) throws(DaemonError) {
    guard var child = process.take() else { return }
    let status: ChildProcess.ExitStatus
    do throws(SystemError) {
      status = try child.stop(atMost: timeout)
    } catch {
      throw DaemonError(detail: error.description, log: logTail)
    }
    guard status == .exited(code: 0) else {
      throw DaemonError(detail: "the \(name) ended with \(status) after SIGTERM", log: logTail)
    }
  }

  /// Throws when it ended by itself: `run` never does because of a broker.
  package mutating func checkRunning() throws(DaemonError) {
    let status: ChildProcess.ExitStatus?
    do throws(SystemError) {
      status = try process?.wait(atMost: .zero) ?? nil
    } catch {
      throw DaemonError(detail: error.description, log: logTail)
    }
    if let status { throw endedByItself(status) }
  }

  /// Lets time pass while it runs; ends early when it does.
  package mutating func pause(_ duration: Duration) throws(DaemonError) {
    do throws(SystemError) {
      _ = try process?.wait(atMost: duration)
    } catch {
      throw DaemonError(detail: error.description, log: logTail)
    }
  }

  private static func prepare(
    _ name: String, _ configuration: (String) -> String
  ) throws(DaemonError) -> TemporaryDirectory {
    do throws(SystemError) {
      let directory = try TemporaryDirectory(prefix: "penstock-\(name)")
      let text = configuration(try directory.makeSubdirectory("data"))
      try File.replace("\(directory.path)/\(name).yaml", with: Array(text.utf8))
      return directory
    } catch {
      throw DaemonError(detail: error.description, log: "")
    }
  }

  private func endedByItself(_ status: ChildProcess.ExitStatus) -> DaemonError {
    DaemonError(detail: "the \(name) ended by itself: \(status)", log: logTail)
  }

  private var logTail: String {
    guard let bytes = try? File.readSmall(logPath, byteCountMax: 64 << 20) else { return "" }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").suffix(15)
      .joined(separator: "\n")
  }
}

/// A program could not be run, or did not end as it must.
package struct DaemonError: Error, Sendable, Hashable, CustomStringConvertible {
  package let detail: String
  /// The end of what it printed.
  package let log: String

  package var description: String { log.isEmpty ? detail : "\(detail)\n\(log)" }
}
