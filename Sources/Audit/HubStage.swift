import GatewayCore
import Platform

/// How the hub of an audited path is set up; everything else is at its default.
package struct HubStageOptions: Sendable, Hashable {
  /// The `penstock-hub` binary.
  package var executable: String
  package var hubID = "hub-audit"
  /// Above it the rule `motor-hot` raises an alert and begins a case, in °C.
  package var temperatureLimit = 105
  /// Whose acceptance of a batch counts at the gateway: `hub`, or `broker` to see what that costs.
  package var accept = "hub"

  package init(executable: String) { self.executable = executable }

  /// Where the hub publishes what it decides.
  package var eventFilter: String { "penstock/v1/hub/\(hubID)/events/#" }

  static let subscription = "penstock/v1/+/+"

  func configuration(centralPort: UInt16, dataDirectory: String) -> String {
    """
    hub: {id: \(hubID), database: "\(dataDirectory)/hub.sqlite"}
    broker: {url: "mqtt://127.0.0.1:\(centralPort)"}
    consume: {subscribe: ["\(Self.subscription)"]}
    observability: {listen: none}
    alerts:
      - name: motor-hot
        severity: critical
        message: "{asset}: motor at {value} °C, more than {limit}"
        maintenance: true
        threshold:
          metric: temperature
          above: \(temperatureLimit)
          clear: \(temperatureLimit - 10)

    """
  }

  /// The session that must stand before batches are sent.
  var subscriptionLine: String { "penstock-hub-\(hubID)-in 1 \(Self.subscription)" }
}

/// The hub behind the central broker, and a subscriber to what it publishes.
package struct HubStage: ~Copyable {
  package var process: DaemonProcess
  /// What the hub published.
  package let log: HubEventLog
  let options: HubStageOptions
  private let follower: CentralObserver

  init(
    options: HubStageOptions, central: borrowing BrokerProcess, environment: [String: String],
    isKept: Bool
  ) throws {
    self.options = options
    let port = central.port
    var process = try DaemonProcess(
      name: "hub", executable: options.executable, environment: environment
    ) { options.configuration(centralPort: port, dataDirectory: $0) }
    if isKept { process.keepDirectory() }
    let log = HubEventLog()
    follower = try CentralObserver(
      endpoint: central.endpoint, clientID: "follower", filters: [options.eventFilter],
      record: log.record)
    self.log = log
    self.process = process
  }

  /// The follower first, so that nothing is published to nobody.
  mutating func start(central: inout BrokerProcess) throws {
    follower.start()
    guard follower.wait(timeout: .seconds(10), until: { $0.isSubscribed }) else {
      throw StageError("the follower could not subscribe: \(follower.current.lastError ?? "")")
    }
    try process.start()
    guard try central.waitForLog(options.subscriptionLine, timeout: .seconds(15)) else {
      try process.checkRunning()
      throw StageError("the hub did not subscribe; see \(process.logPath)")
    }
  }

  /// SIGTERM; exit code 0. What it has published is heard to the end.
  mutating func stop(mayBeForgotten: Bool) throws {
    try process.stop()
    let seen = follower.current.messages
    // What the broker has not handed on yet comes within milliseconds or not at all.
    _ = follower.wait(timeout: .milliseconds(300)) { $0.messages > seen + 1_000_000 }
    follower.stop()
    if !mayBeForgotten && follower.current.sessionsLost > 0 {
      throw StageError("the central broker forgot the follower: this audit proves nothing")
    }
  }

  package var databasePath: String { process.dataPath + "/hub.sqlite" }

  /// How far the last maintenance case of `asset` is; nil when there is none.
  package func casePhase(of asset: String) throws -> String? {
    try look("cases", "--all").lines.lazy.map { JSONMembers($0.span) }
      .first { $0.text("assetId") == asset }?.text("phase")
  }

  /// What a command of the hub's program says of this hub's database.
  func look(_ arguments: String...) throws -> ProgramOutput {
    try ProgramOutput(
      of: process.executable, arguments + ["--json", "--config", process.configurationPath],
      in: process.directoryPath)
  }

  /// The last sequence of `journal` that the hub has accounted for with all before it.
  func offset() throws -> UInt64 {
    let output = try look("offsets")
    // Before the first transaction there is no database.
    guard output.code == 0 else { return 0 }
    return output.lines.reduce(0) { highest, line in
      let members = JSONMembers(line.span)
      guard members.number("missing") == 0 else { return highest }
      return max(highest, members.number("through") ?? 0)
    }
  }
}

/// What a program printed and how it ended.
struct ProgramOutput {
  let code: Int32
  let lines: [[UInt8]]

  private static let byteCountMax = 1 << 30

  /// Runs a program to its end.
  init(of executable: String, _ arguments: [String], in directory: String) throws {
    let path = directory + "/output"
    try File.remove(path)
    var child = try ChildProcess(
      executable: executable, arguments: arguments, standardOutput: .file(path: path),
      standardError: .file(path: path + ".errors"))
    guard case .exited(let code)? = try child.wait(atMost: .seconds(120)) else {
      throw StageError("\(executable) \(arguments.joined(separator: " ")) did not end")
    }
    let bytes = try File.readSmall(path, byteCountMax: Self.byteCountMax)
    self.code = code
    lines = bytes.split(separator: UInt8(ascii: "\n")).map(Array.init)
  }
}
