import GatewayCore
import Glibc
import Mosquitto
import Platform
import Synchronization
import TestSupport

/// A broker behind a link that carries so much and no more: Mosquitto in a network namespace of its
/// own, at the other end of a veth pair whose near end is shaped (tc-tbf(8)). Goes with the owner.
final class ThinLink {
  let endpoint: BrokerEndpoint
  private let interface: String
  private let namespace: String
  private let directory: TemporaryDirectory
  private var broker: ChildProcess?

  private static let count = Atomic(0)

  /// Root, ip(8), tc(8) and Mosquitto.
  static let isPossible: Bool = {
    guard geteuid() == 0 else { return false }
    let name = "penstock-probe-\(getpid())"
    guard (try? Command(tool: "ip", ["netns", "add", name]))?.code == 0 else { return false }
    _ = try? Command(tool: "ip", ["netns", "del", name])
    return ["tc", "mosquitto"].allSatisfy { Environment.executable(named: $0) != nil }
  }()

  /// - Parameters:
  ///   - rate: as tc(8) reads it: `320kbit`; nil: what the machine can.
  ///   - queue: for how long a packet may stand in the link's queue before it is forgotten, as
  ///     tc(8) reads it. A modem's is deep, and TCP fills it until something is lost: here by Reno,
  ///     which looks at nothing else, whatever the machine's own congestion control is.
  init(rate: String?, queue: String = "300ms") throws {
    // What the one before leaves behind goes in its own time.
    let number = Self.count.add(1, ordering: .relaxed).newValue
    namespace = "penstock-\(getpid())-\(number)"
    directory = try TemporaryDirectory(prefix: "penstock-thin")
    // The second and third byte of the address keep test processes apart.
    let id = (Int(getpid()) * 7 + number) % 65_536
    let network = "10.\(id / 256).\(id % 256)"
    endpoint = BrokerEndpoint(host: "\(network).2", port: 1883)
    let (near, far) = ("pn\(id)", "pf\(id)")
    interface = near
    try ip("netns", "add", namespace)
    try ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", namespace)
    try ip("address", "add", "\(network).1/30", "dev", near)
    try ip("link", "set", near, "up")
    try ip("-n", namespace, "address", "add", "\(network).2/30", "dev", far)
    try ip("-n", namespace, "link", "set", far, "up")
    if let rate {
      let shaped = try Command(
        tool: "tc",
        [
          "qdisc", "add", "dev", near, "root", "tbf", "rate", rate, "burst", "4kb", "latency",
          queue,
        ])
      guard shaped.code == 0 else { throw TestFailure("tc: \(shaped.error)") }
      try ip(
        "route", "replace", "\(network).0/30", "dev", near, "src", "\(network).1", "congctl",
        "reno")
    }
    let configuration = "\(directory.path)/conf"
    try File.replace(
      configuration,
      with: Array("listener 1883 \(network).2\nallow_anonymous true\nuser root\n".utf8))
    guard let program = Environment.executable(named: "ip"),
      let mosquitto = Environment.executable(named: "mosquitto")
    else { throw TestFailure("ip or mosquitto is not installed") }
    broker = try ChildProcess(
      executable: program,
      arguments: ["netns", "exec", namespace, mosquitto, "-c", configuration],
      standardOutput: .file(path: "\(directory.path)/log"),
      standardError: .file(path: "\(directory.path)/log"))
    try wait(for: "the broker behind the link") {
      text(of: "\(self.directory.path)/log").contains("running")
    }
  }

  /// Bytes of IP packets that the near end has sent and received.
  var carriedByteCount: Int {
    func count(_ name: String) -> Int {
      let path = "/sys/class/net/\(interface)/statistics/\(name)"
      return Int(text(of: path).prefix { $0.isNumber }) ?? 0
    }
    // Less the Ethernet headers.
    return count("tx_bytes") + count("rx_bytes") - 14 * (count("tx_packets") + count("rx_packets"))
  }

  private func ip(_ arguments: String...) throws {
    let command = try Command(tool: "ip", arguments)
    guard command.code == 0 else { throw TestFailure("ip \(arguments): \(command.error)") }
  }

  deinit {
    if var broker = broker.take() { _ = try? broker.kill() }
    // The pair goes with the namespace.
    _ = try? Command(tool: "ip", ["netns", "del", namespace])
  }
}
