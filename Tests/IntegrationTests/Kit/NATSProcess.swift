import Glibc
import Mosquitto
import Platform
import TestSupport

/// A real NATS server with JetStream and its MQTT listener, for one test: the configuration that
/// `edge-config/` has for it, on ports and in a directory of its own. Goes with the owner.
struct NATSProcess: ~Copyable {
  let port: UInt16
  /// Messages without PUBACK to one subscription at most: `max_ack_pending` of the configuration.
  let pendingMax: Int
  private let directory: TemporaryDirectory
  private var process: ChildProcess?

  static var isAvailable: Bool { Environment.executable(named: "nats-server") != nil }

  /// - Parameter sample: a file of `edge-config/`, whose addresses and paths are replaced.
  init(_ sample: String) throws {
    let directory = try TemporaryDirectory(prefix: "penstock-nats")
    let port = try Loopback.freePort()
    let client = try Loopback.freePort()
    let bytes = try File.readSmall("\(repositoryRoot)/edge-config/\(sample)", byteCountMax: 1 << 16)
    var lines: [String] = []
    // What the server does without that line.
    var pendingMax = 100
    for line in String(decoding: bytes, as: UTF8.self).split(
      separator: "\n", omittingEmptySubsequences: false)
    {
      let indentation = line.prefix { $0 == " " }
      switch line.drop(while: { $0 == " " }).prefix(while: { $0 != ":" }) {
      case "listen" where indentation.isEmpty: lines.append("listen: \"127.0.0.1:\(client)\"")
      case "listen": lines.append("\(indentation)listen: \"127.0.0.1:\(port)\"")
      case "max_ack_pending":
        pendingMax = line.split(separator: " ").last.flatMap { Int($0) } ?? pendingMax
        lines.append(String(line))
      case "store_dir": lines.append("\(indentation)store_dir: \"\(directory.path)/store\"")
      default: lines.append(String(line))
      }
    }
    try File.replace(
      "\(directory.path)/nats.conf", with: Array(lines.joined(separator: "\n").utf8))
    self.directory = directory
    self.port = port
    self.pendingMax = pendingMax
  }

  var endpoint: BrokerEndpoint { BrokerEndpoint(host: "127.0.0.1", port: port) }

  var log: String { text(of: directory.path + "/nats.log") }

  /// Returns when it takes connections.
  mutating func start() throws {
    precondition(process == nil, "a server is stopped before it is started again")
    guard let program = Environment.executable(named: "nats-server") else {
      throw TestFailure("nats-server is not installed: apt-get install nats-server")
    }
    let path = directory.path
    let earlier = log.utf8.count
    process = try ChildProcess(
      executable: program, arguments: ["-c", "\(path)/nats.conf"],
      standardOutput: .file(path: "\(path)/nats.log"),
      standardError: .file(path: "\(path)/nats.log"))
    do {
      try wait(for: "the NATS server") {
        log.dropFirst(earlier).contains("Server is ready") && Loopback.answers(port: port)
      }
    } catch {
      throw TestFailure("\(error)\n\(log.suffix(3000))")
    }
  }

  /// SIGTERM.
  mutating func terminate() throws {
    guard var child = process.take() else { return }
    _ = try child.stop(atMost: .seconds(20))
  }

  /// SIGKILL.
  mutating func kill() throws {
    guard var child = process.take() else { return }
    try child.kill()
  }
}
