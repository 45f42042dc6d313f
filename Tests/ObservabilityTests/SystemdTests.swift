// Goal: systemd hears the right word at the right moment, and silence when ingest is stuck.
// Method: a real datagram socket in systemd's place; a manual clock; the unit file under
// systemd-analyze. Cannot show: systemd's own reaction; the machine the tests run on may have none.

import GatewayCore
import Glibc
import Logging
import Platform
import ServiceLifecycle
import ServiceLifecycleTestKit
import Testing

@testable import Observability

/// The socket systemd would listen on.
private struct FakeSystemd: ~Copyable {
  let descriptor: FileDescriptor

  /// `name` as in NOTIFY_SOCKET: a path, or `@` and an abstract name.
  init(_ name: String) throws {
    descriptor = FileDescriptor(
      owning: socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var path = Array(name.utf8)
    if path[0] == UInt8(ascii: "@") { path[0] = 0 }
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path) }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + path.count)
    let code = unsafe withUnsafePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe bind(descriptor.raw, $0, length)
      }
    }
    guard code == 0 else { throw SystemError("bind \(name)") }
  }

  /// The next datagram, waiting at most `timeout` for it.
  func next(timeout: Duration = .zero) -> String? {
    var poll = pollfd(fd: descriptor.raw, events: Int16(POLLIN), revents: 0)
    guard unsafe Glibc.poll(&poll, 1, Int32(timeout.nanoseconds / 1_000_000)) == 1 else {
      return nil
    }
    var bytes = [UInt8](repeating: 0, count: 4096)
    let count = unsafe recv(descriptor.raw, &bytes, bytes.count, 0)
    return count < 0 ? nil : String(decoding: bytes[..<count], as: UTF8.self)
  }

  /// Everything that has arrived.
  func all() -> [String] {
    var messages: [String] = []
    while let message = next() { messages.append(message) }
    return messages
  }
}

@Suite("systemd")
struct SystemdTests {
  private let quiet = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

  private func notifier(_ socket: String, watchdog: String? = nil, pid: String? = nil)
    -> SystemdNotifier
  {
    let variables = ["NOTIFY_SOCKET": socket, "WATCHDOG_USEC": watchdog, "WATCHDOG_PID": pid]
    return SystemdNotifier(environment: { variables[$0] ?? nil })
  }

  @Test("every word is one datagram, over a path and over an abstract name")
  func words() throws {
    let directory = try TemporaryDirectory()
    let abstract = "@penstock-test-\(UInt64.random(in: 0 ... .max))"
    for name in [directory.path + "/notify", abstract] {
      let systemd = try FakeSystemd(name)
      let notifier = notifier(name)
      try notifier.ready()
      try notifier.status("line one\nREADY=0\u{1b}")
      try notifier.watchdog()
      try notifier.extendTimeout(by: .seconds(30))
      try notifier.stopping()
      #expect(
        systemd.all() == [
          "READY=1", "STATUS=line one READY=0 ", "WATCHDOG=1", "EXTEND_TIMEOUT_USEC=30000000",
          "STOPPING=1",
        ])
    }
  }

  @Test("without NOTIFY_SOCKET nothing happens; a socket nobody holds or a bad name is an error")
  func absent() throws {
    let silent = SystemdNotifier(environment: { _ in nil })
    #expect(!silent.isActive)
    #expect(silent.watchdogPeriod == nil)
    try silent.ready()
    #expect(throws: SystemError.self) { try notifier("/nonexistent/notify").ready() }
    #expect(throws: SystemError.self) { try notifier("relative").ready() }
    #expect(throws: SystemError.self) {
      try notifier("/" + String(repeating: "x", count: 200)).ready()
    }
  }

  @Test("the watchdog is ours only if WATCHDOG_PID says so")
  func watchdogPeriod() {
    #expect(notifier("/x", watchdog: "3000000").watchdogPeriod == .seconds(3))
    #expect(notifier("/x", watchdog: "3000000", pid: "\(getpid())").watchdogPeriod == .seconds(3))
    #expect(notifier("/x", watchdog: "3000000", pid: "1").watchdogPeriod == nil)
    #expect(notifier("/x", watchdog: "zero").watchdogPeriod == nil)
    #expect(notifier("/x", watchdog: "0").watchdogPeriod == nil)
  }

  @Test("READY waits for recovery and for nothing else; a stalled stage starves the watchdog")
  func feeding() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/notify"
    let systemd = try FakeSystemd(path)
    let clock = ManualClock()
    let board = StatusBoard(
      version: "1", stallLimit: .seconds(60), monotonic: clock.monotonic, wall: clock.wall)
    let feeder = WatchdogFeeder(
      board: board, notifier: notifier(path, watchdog: "60000000"), logger: quiet)
    #expect(feeder.period == .seconds(30))

    board.report(ingest, StageState(.creating, "12 %"))
    feeder.tick()
    let creating = systemd.all()
    #expect(creating.contains("EXTEND_TIMEOUT_USEC=90000000"))
    #expect(creating.contains("WATCHDOG=1"))
    #expect(!creating.contains("READY=1"))

    board.report(ingest, StageState(.reconnecting, "connection refused"))
    feeder.tick()
    #expect(
      systemd.all() == [
        "READY=1",
        "STATUS=degraded: 0 of 1 stages connected; telemetry/ingest reconnecting "
          + "(connection refused)",
        "WATCHDOG=1",
      ])
    feeder.tick()
    #expect(systemd.all() == ["WATCHDOG=1"], "READY and an unchanged STATUS are said once")

    clock.advance(by: .seconds(61))
    feeder.tick()
    #expect(
      systemd.all() == [
        "STATUS=unhealthy: 0 of 1 stages connected; telemetry/ingest stalled (connection refused)"
      ])
    feeder.tick()
    #expect(systemd.all().isEmpty, "silence: systemd will restart us")

    // Negative control: the same passage of time with progress is fed.
    board.progress(ingest)
    clock.advance(by: .seconds(59))
    feeder.tick()
    #expect(systemd.all().contains("WATCHDOG=1"))

    board.report(ingest, StageState(.draining))
    feeder.tick()
    #expect(systemd.all().contains("STOPPING=1"))
  }

  @Test("READY and STATUS that meet a full queue are said again until they get through")
  func fullQueue() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/notify"
    let systemd = try FakeSystemd(path)
    let notifier = notifier(path)
    let board = StatusBoard(version: "1", stallLimit: .seconds(60))
    let feeder = WatchdogFeeder(board: board, notifier: notifier, logger: quiet)
    board.report(ingest, StageState(.connected))
    // As many as the kernel lets wait (net.unix.max_dgram_qlen).
    var waiting = 0
    while (try? notifier.watchdog()) != nil { waiting += 1 }
    try #require(waiting > 0)
    for _ in 0..<3 { feeder.tick() }
    #expect(systemd.all() == [String](repeating: "WATCHDOG=1", count: waiting))
    feeder.tick()
    let said = systemd.all()
    #expect(said.count == 2 && said.first == "READY=1", "\(said)")
    #expect(said.last?.hasPrefix("STATUS=ok") == true, "\(said)")
    feeder.tick()
    #expect(systemd.all().isEmpty, "and once is enough")
  }

  @Test("one stalled route of two is enough for silence")
  func anyStalled() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/notify"
    let systemd = try FakeSystemd(path)
    let clock = ManualClock()
    let board = StatusBoard(
      version: "1", stallLimit: .seconds(60), monotonic: clock.monotonic, wall: clock.wall)
    let feeder = WatchdogFeeder(
      board: board, notifier: notifier(path, watchdog: "60000000"), logger: quiet)
    let other = StageName(route: "commands", part: .ingest)
    board.report(ingest, StageState(.connected))
    board.report(other, StageState(.connected))
    clock.advance(by: .seconds(61))
    board.progress(ingest)
    feeder.tick()
    #expect(!systemd.all().contains("WATCHDOG=1"))
    board.progress(other)
    feeder.tick()
    #expect(systemd.all().contains("WATCHDOG=1"))
  }

  @Test("the service feeds on its own, reacts to a change at once, and says goodbye")
  func service() async throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/notify"
    let systemd = try FakeSystemd(path)
    let board = StatusBoard(version: "1", stallLimit: .seconds(60))
    let feeder = WatchdogFeeder(
      board: board, notifier: notifier(path, watchdog: "100000"), logger: quiet)
    try await testGracefulShutdown { trigger in
      async let running: Void = feeder.run()
      board.report(ingest, StageState(.recovering))
      var heard = systemd.next(timeout: .seconds(60))
      while let message = heard, message != "WATCHDOG=1" {
        heard = systemd.next(timeout: .seconds(60))
      }
      #expect(heard == "WATCHDOG=1")
      board.report(ingest, StageState(.connected))
      while let message = heard, message != "READY=1" {
        heard = systemd.next(timeout: .seconds(60))
      }
      #expect(heard == "READY=1")
      trigger.triggerGracefulShutdown()
      try await running
    }
    #expect(systemd.all().last == "STOPPING=1")
  }

  @Test("outside systemd the service only waits for the shutdown")
  func idleService() async throws {
    let feeder = WatchdogFeeder(
      board: StatusBoard(version: "1"), notifier: SystemdNotifier(environment: { _ in nil }),
      logger: quiet)
    try await testGracefulShutdown { trigger in
      async let running: Void = feeder.run()
      trigger.triggerGracefulShutdown()
      try await running
    }
  }

  private static let analyzeIsAvailable = (try? shell("command -v systemd-analyze").code) == 0

  @Test(
    "a unit file is clean under systemd-analyze verify and its exposure is at most 1.5",
    .enabled(if: analyzeIsAvailable, "systemd-analyze is missing (apt-get install systemd)"),
    arguments: ["penstock.service", "penstock-hub.service"])
  func unitFile(name: String) throws {
    let check = root + "/systemd/check-unit.sh"
    let unit = root + "/systemd/\(name)"
    let (code, output) = try shell("'\(check)' '\(unit)'")
    #expect(code == 0, "\(output)")

    // Negative controls: an unknown key, and an exposed service, are found.
    let directory = try TemporaryDirectory()
    let broken = directory.path + "/\(name)"
    _ = try shell("sed 's/^Restart=always/Restrat=always/' '\(unit)' >'\(broken)'")
    #expect(try shell("'\(check)' '\(broken)'").code == 1)
    _ = try shell("sed '/^PrivateDevices=/d; /^CapabilityBoundingSet=/d' '\(unit)' >'\(broken)'")
    #expect(try shell("'\(check)' '\(broken)'").code == 1)
  }
}
