import GatewayCore
import Glibc
import Platform

/// The gateway under audit: `penstock run` as a child process, started, killed and started again on
/// one configuration and one data directory.
package struct AgentProcess: ~Copyable, Sendable {
  private let executable: String
  private var directory: TemporaryDirectory
  private let environment: [String: String]
  /// Everything the agent prints, over all its starts.
  package let logPath: String
  private var process: ChildProcess?
  package private(set) var startCount = 0

  /// - Parameters:
  ///   - executable: the `penstock` binary; `/proc/self/exe` resolves to our own.
  ///   - environment: the agent's whole environment beyond PATH.
  package init(
    executable: String, options: AgentOptions, environment: [String: String] = [:]
  ) throws(AgentError) {
    let directory = try Self.prepare(options)
    self.executable = executable
    self.environment = environment
    logPath = directory.path + "/agent.log"
    self.directory = directory
  }

  package var directoryPath: String { directory.path }

  /// Keeps configuration, log and journal when the owner goes.
  package mutating func keepDirectory() { directory.isKept = true }

  /// Starts the agent and returns at once: it recovers and connects in its own time. `more`: added
  /// to the environment for this life alone.
  package mutating func start(environment more: [String: String] = [:]) throws(AgentError) {
    precondition(process == nil, "an agent is stopped before it is started again")
    var variables = environment.merging(more) { $1 }
    variables["PATH"] = Environment.value(of: "PATH") ?? "/usr/bin:/bin"
    startCount += 1
    do throws(SystemError) {
      process = try ChildProcess(
        executable: executable, arguments: ["run", "--config", directory.path + "/penstock.yaml"],
        environment: variables, standardOutput: .file(path: logPath),
        standardError: .file(path: logPath))
    } catch {
      throw AgentError(detail: error.description, log: logTail)
    }
  }

  /// SIGKILL, anywhere in whatever it was doing.
  package mutating func kill() throws(AgentError) {
    guard var child = process.take() else { return }
    let status: ChildProcess.ExitStatus
    do throws(SystemError) {
      status = try child.kill()
    } catch {
      throw AgentError(detail: error.description, log: logTail)
    }
    // An agent that ended by itself before our signal has a story to tell.
    guard status == .killed(signal: SIGKILL) else { throw endedByItself(status) }
  }

  /// Waits for the SIGKILL that the agent was told to send itself; false after `limit`, and it runs
  /// on. Throws when it ended in another way.
  package mutating func waitForKill(atMost limit: Duration) throws(AgentError) -> Bool {
    let status: ChildProcess.ExitStatus?
    do throws(SystemError) {
      status = try process?.wait(atMost: limit) ?? nil
    } catch {
      throw AgentError(detail: error.description, log: logTail)
    }
    guard let status else { return false }
    guard status == .killed(signal: SIGKILL) else { throw endedByItself(status) }
    process = nil
    return true
  }

  package func send(signal: Int32) { process?.send(signal: signal) }

  /// SIGTERM: stop reading, commit, deliver what fits, close. The exit code must be 0.
  package mutating func stop(timeout: Duration = .seconds(30)) throws(AgentError) {
    guard var child = process.take() else { return }
    let status: ChildProcess.ExitStatus
    do throws(SystemError) {
      status = try child.stop(atMost: timeout)
    } catch {
      throw AgentError(detail: error.description, log: logTail)
    }
    guard status == .exited(code: 0) else {
      throw AgentError(detail: "the agent ended with \(status) after SIGTERM", log: logTail)
    }
  }

  /// Throws when the agent ended by itself: `run` never does because of a broker.
  package mutating func checkRunning() throws(AgentError) {
    let status: ChildProcess.ExitStatus?
    do throws(SystemError) {
      status = try process?.wait(atMost: .zero) ?? nil
    } catch {
      throw AgentError(detail: error.description, log: logTail)
    }
    if let status { throw endedByItself(status) }
  }

  /// Lets time pass while the agent runs; ends early when the agent does.
  package mutating func pause(_ duration: Duration) throws(AgentError) {
    do throws(SystemError) {
      _ = try process?.wait(atMost: duration)
    } catch {
      throw AgentError(detail: error.description, log: logTail)
    }
  }

  private func endedByItself(_ status: ChildProcess.ExitStatus) -> AgentError {
    AgentError(detail: "the agent ended by itself: \(status)", log: logTail)
  }

  private var logTail: String {
    guard let bytes = try? File.readSmall(logPath, byteCountMax: 64 << 20) else { return "" }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").suffix(15)
      .joined(separator: "\n")
  }

  private static func prepare(_ options: AgentOptions) throws(AgentError) -> TemporaryDirectory {
    do throws(SystemError) {
      let directory = try TemporaryDirectory(prefix: "penstock-agent")
      let text = options.configuration(dataDirectory: try directory.makeSubdirectory("data"))
      try File.replace(directory.path + "/penstock.yaml", with: Array(text.utf8))
      return directory
    } catch {
      throw AgentError(detail: error.description, log: "")
    }
  }
}

/// The agent could not be run, or did not end as it must.
package struct AgentError: Error, Sendable, Hashable, CustomStringConvertible {
  package let detail: String
  /// The end of what the agent printed.
  package let log: String

  package var description: String { log.isEmpty ? detail : "\(detail)\n\(log)" }
}

/// What an agent under audit is configured with; everything else is at its default.
package struct AgentOptions: Sendable, Hashable {
  package var gatewayID = "gw-audit"
  package var fieldPort: UInt16
  package var centralPort: UInt16
  /// For `/metrics` on loopback.
  package var observabilityPort: UInt16
  package var filters = ["pumps/+/metrics", "pumps/+/asset"]
  package var messageIDPointer = "/messageId"
  package var journalSize = "64MiB"
  package var commitMaxDelay = "20ms"
  package var batchMaxRecords = 500
  package var batchMaxDelay = "200ms"
  package var maxInFlight = 16
  package var compression = "zstd"

  package init(fieldPort: UInt16, centralPort: UInt16, observabilityPort: UInt16) {
    self.fieldPort = fieldPort
    self.centralPort = centralPort
    self.observabilityPort = observabilityPort
  }

  /// The client id of the session at the field broker.
  package var inboundClientID: String { "penstock-\(gatewayID)-telemetry-in" }

  /// Where the observer listens.
  package var upstreamTopic: String { "penstock/v1/\(gatewayID)/telemetry" }

  /// What `interruptions` (kills of the agent, losses of the central broker) may bring again, in
  /// events: each time a full window of full batches, and one batch that was accepted while its
  /// cursor was being written. After a power cut it would be up to a second of accepted batches
  /// more; after SIGKILL the page cache still has their cursors.
  package func redeliveryBound(interruptions: Int) -> UInt64 {
    UInt64(interruptions * (maxInFlight + 1) * batchMaxRecords)
  }

  package func configuration(dataDirectory: String) -> String {
    """
    gateway:
      id: \(gatewayID)
      data_directory: \(dataDirectory)
    brokers:
      field:
        url: mqtt://127.0.0.1:\(fieldPort)
        client_id: penstock-${gateway.id}
      central:
        url: mqtt://127.0.0.1:\(centralPort)
        client_id: penstock-${gateway.id}
        status_topic: none
    routes:
      - name: telemetry
        from: field
        subscribe: [\(filters.joined(separator: ", "))]
        message_id: {json: \(messageIDPointer)}
        journal:
          size: \(journalSize)
          commit: {max_delay: \(commitMaxDelay)}
        to:
          - name: central
            broker: central
            topic: penstock/v1/${gateway.id}/telemetry
            batch: {max_records: \(batchMaxRecords), max_delay: \(batchMaxDelay)}
            compression: \(compression)
            max_in_flight: \(maxInFlight)
    observability: {listen: "127.0.0.1:\(observabilityPort)"}

    """
  }
}
