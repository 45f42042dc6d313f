import Glibc
import Platform
import TestSupport

/// A network namespace with one link to this machine, which can be taken down, emptied, thinned and
/// slowed. It goes with its owner.
///
///     here: 10.213.n.1 ── veth ── 10.213.n.2: namespace
final class NetworkNamespace {
  let name: String
  /// This machine, as the namespace sees it.
  let hostAddress: String
  private let hostLink: String
  private let innerLink: String
  private let number: Int

  /// A program and arguments that run a command in the namespace.
  var wrapper: [String] { [Self.ip, "netns", "exec", name] }

  private static let ip = Environment.executable(named: "ip") ?? "ip"

  init() throws {
    let id = Int(getpid())
    number = Self.counter.increment()
    name = "penstock-\(id)-\(number)"
    hostLink = "ph\(id % 100_000)n\(number)"
    innerLink = "pn\(id % 100_000)n\(number)"
    // Two processes at a time may test here.
    let net = "10.213.\((id * 7 + number) % 250)"
    hostAddress = "\(net).1"
    try run(Self.ip, "netns", "add", name)
    try run(Self.ip, "link", "add", hostLink, "type", "veth", "peer", "name", innerLink)
    try run(Self.ip, "link", "set", innerLink, "netns", name)
    try run(Self.ip, "address", "add", "\(hostAddress)/30", "dev", hostLink)
    try run(Self.ip, "link", "set", hostLink, "up")
    try inside(Self.ip, "address", "add", "\(net).2/30", "dev", innerLink)
    try inside(Self.ip, "link", "set", innerLink, "up")
    try inside(Self.ip, "link", "set", "lo", "up")
  }

  deinit {
    try? run(Self.ip, "link", "delete", hostLink)
    try? run(Self.ip, "netns", "delete", name)
    try? heal()
  }

  private static let counter = Counter()

  // MARK: - Faults

  /// The cable, pulled out or plugged in at our end.
  func setLink(isUp: Bool) throws {
    try run(Self.ip, "link", "set", hostLink, isUp ? "up" : "down")
  }

  /// Packets arrive and are forgotten, at both ends: nobody is told.
  func swallow() throws { try filter("drop") }

  /// A random part of the packets is forgotten, at both ends.
  func lose(percent: Int) throws { try filter("numgen random mod 100 < \(percent) drop") }

  /// At both ends.
  func slowDown(to rate: String) throws {
    let shape = ["root", "tbf", "rate", rate, "burst", "1600", "latency", "400ms"]
    let tc = Environment.executable(named: "tc") ?? "tc"
    try run(tc, ["qdisc", "add", "dev", hostLink] + shape)
    try run(
      wrapper[0], Array(wrapper.dropFirst()) + [tc, "qdisc", "add", "dev", innerLink] + shape)
  }

  private var table: String { "penstock\(number)_\(getpid())" }

  private func filter(_ rule: String) throws {
    let chain = "{ type filter hook input priority 0; }"
    for (link, isInside) in [(hostLink, false), (innerLink, true)] {
      let text =
        "add table ip \(table); add chain ip \(table) input \(chain); "
        + "add rule ip \(table) input iifname \(link) \(rule)"
      try nft(text, isInside: isInside)
    }
  }

  /// Nothing is swallowed or lost any more.
  func heal() throws {
    for isInside in [false, true] { try? nft("delete table ip \(table)", isInside: isInside) }
  }

  private func nft(_ text: String, isInside: Bool) throws {
    let nft = Environment.executable(named: "nft") ?? "nft"
    let command = (isInside ? wrapper : []) + [nft, text]
    try run(command[0], Array(command.dropFirst()))
  }

  private func inside(_ arguments: String...) throws {
    try run(wrapper[0], Array(wrapper.dropFirst()) + arguments)
  }

  // MARK: - Whether it can be had

  /// Why there is no namespace to be had here; nil when there is.
  static let obstacle: String? = {
    if geteuid() != 0 { return "needs root to make network namespaces" }
    if Environment.executable(named: "ip") == nil { return "iproute2 is not installed" }
    do {
      let namespace = try NetworkNamespace()
      try namespace.setLink(isUp: true)
      return nil
    } catch {
      return "no network namespace here: \(error)"
    }
  }()

  /// Why packets cannot be lost here; nil when they can.
  static let filterObstacle: String? = {
    if let obstacle { return obstacle }
    if Environment.executable(named: "nft") == nil { return "nftables is not installed" }
    do {
      try NetworkNamespace().lose(percent: 1)
      return nil
    } catch {
      return "no packet filter here: \(error)"
    }
  }()

  /// Why the link cannot be slowed here; nil when it can.
  static let shapeObstacle: String? = {
    if let obstacle { return obstacle }
    do {
      try NetworkNamespace().slowDown(to: "1mbit")
      return nil
    } catch {
      return "no traffic shaping here: \(error)"
    }
  }()
}

/// Runs a program of the system to its end.
private func run(_ program: String, _ arguments: String...) throws {
  try run(program, arguments)
}

private func run(_ program: String, _ arguments: [String]) throws {
  let directory = try TemporaryDirectory(prefix: "penstock-tool")
  let log = "\(directory.path)/log"
  var process = try ChildProcess(
    executable: program, arguments: arguments, standardOutput: .file(path: log),
    standardError: .file(path: log))
  guard try process.wait(atMost: .seconds(20)) == .exited(code: 0) else {
    let text = (try? File.readSmall(log, byteCountMax: 1 << 16)) ?? []
    throw TestFailure(
      "\(program) \(arguments.joined(separator: " ")): \(String(decoding: text, as: UTF8.self))")
  }
}
