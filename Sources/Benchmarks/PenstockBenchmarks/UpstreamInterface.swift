import Glibc
import Platform

/// A network namespace with the central broker in it, behind one interface whose bytes are counted.
/// Packets have the size that they have on Ethernet. Goes with its owner.
final class UpstreamInterface {
  let address = "10.214.0.2"
  private let name = "penstock-bench"
  private let link = "pbench0"
  private let directory: TemporaryDirectory

  private static let ip = Environment.executable(named: "ip") ?? "ip"

  /// Why there is none here; nil when there is.
  static var obstacle: String? {
    if geteuid() != 0 { return "needs root to make a network namespace" }
    do {
      _ = try UpstreamInterface()
      return nil
    } catch {
      return "no network namespace here: \(error)"
    }
  }

  var wrapper: [String] { [Self.ip, "netns", "exec", name] }

  init() throws {
    directory = try TemporaryDirectory(prefix: "penstock-bench")
    try run("netns", "add", name)
    try run("link", "add", link, "type", "veth", "peer", "name", "pbench1")
    try run("link", "set", "pbench1", "netns", name)
    try run("address", "add", "10.214.0.1/30", "dev", link)
    // No segments that only a virtual cable could carry.
    try run("link", "set", link, "gso_max_segs", "1", "up")
    for command in [
      ["address", "add", "\(address)/30", "dev", "pbench1"],
      ["link", "set", "pbench1", "gso_max_segs", "1", "up"], ["link", "set", "lo", "up"],
    ] { try run(["netns", "exec", name, Self.ip] + command) }
  }

  deinit {
    try? run("link", "delete", link)
    try? run("netns", "delete", name)
  }

  /// The central broker, on port 1883.
  func startBroker() throws -> ChildProcess {
    guard let program = Environment.executable(named: "mosquitto") else {
      throw BenchmarkError("mosquitto is not installed")
    }
    let lines = [
      "listener 1883", "allow_anonymous true", "user root", "persistence false",
      "max_inflight_messages 1000", "max_queued_messages 0", "",
    ]
    try File.replace(
      "\(directory.path)/mosquitto.conf", with: Array(lines.joined(separator: "\n").utf8))
    let command = wrapper + [program, "-c", "\(directory.path)/mosquitto.conf"]
    return try ChildProcess(
      executable: command[0], arguments: Array(command.dropFirst()), standardOutput: .discard,
      standardError: .discard)
  }

  /// Both directions, since the interface exists.
  func byteCount() throws -> Int {
    try ["tx_bytes", "rx_bytes"].reduce(0) { sum, name in
      let bytes = try File.readSmall(
        "/sys/class/net/\(link)/statistics/\(name)", byteCountMax: 64)
      let digits = String(decoding: bytes, as: UTF8.self).filter(\.isNumber)
      return sum + (Int(digits) ?? 0)
    }
  }

  private func run(_ arguments: String...) throws { try run(arguments) }

  private func run(_ arguments: [String]) throws {
    var process = try ChildProcess(
      executable: Self.ip, arguments: arguments, standardOutput: .discard, standardError: .discard)
    guard try process.wait(atMost: .seconds(10)) == .exited(code: 0) else {
      throw BenchmarkError("ip \(arguments.joined(separator: " ")) failed")
    }
  }
}
