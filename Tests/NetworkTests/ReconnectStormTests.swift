// Goal: a hundred gateways that lose the centre in the same moment do not come back in the same
// moment. Method: a hundred delivery loops of the product, with its own back-off, its own defaults
// for a centre on another machine and real sockets, in this process; a scripted broker that is
// restarted on its port. Cannot show: a hundred field brokers, and networks that part them anyhow.

import GatewayConfiguration
import GatewayCore
import Mosquitto
import Platform
import RingJournal
import TestSupport
import Testing
import Upstream

@Suite("a hundred gateways and one centre", .serialized)
struct ReconnectStormTests {
  static let gatewayCount = 100

  /// What the shipped configuration says about a centre that is not on loopback.
  private static func shippedSpread() throws -> Duration {
    let options = try Configuration.load(path: repositoryRoot + "/edge-config/minimal.yaml").options
    return try #require(options.routes.first?.sinks.first?.connection.reconnectSpread)
  }

  /// - Parameter downtime: how long the port is closed.
  /// - Returns: seconds from the broker's return to each CONNECT, in order.
  private func restart(spread: Duration, downtime: Duration) throws -> [Double] {
    var peer: MQTTPeer? = try MQTTPeer(CentralRole { _ in })
    let port = try #require(peer?.port)
    let gateways = try Gateways(port: port, spread: spread)
    defer { gateways.stop() }
    let pace = try WakeUp()
    func wait(_ limit: Duration, _ condition: () -> Bool) throws {
      let deadline = Deadline(in: limit)
      while !condition() {
        if let error = gateways.errors.first { throw TestFailure(error) }
        if deadline.isOver { throw TestFailure("waited \(limit) in vain for the gateways") }
        _ = Poll.wait(socket: nil, wakeUp: pace, timeout: .milliseconds(10))
      }
    }
    try wait(.seconds(30)) { peer?.linkCount == Self.gatewayCount }
    peer = nil
    let deadline = Deadline(in: downtime)
    try wait(downtime + .seconds(1)) { deadline.isOver }
    let start = Clock.monotonic()
    let again = try MQTTPeer(CentralRole { _ in }, port: port)
    try wait(.seconds(120)) { again.linkCount == Self.gatewayCount }
    return again.withRole { $0.connectTimes }.map {
      Double($0.since(start).nanoseconds) / 1e9
    }.sorted()
  }

  /// The most that fall into any one second.
  private func peak(_ times: [Double]) -> Int {
    times.map { time in times.count { $0 >= time && $0 < time + 1 } }.max() ?? 0
  }

  @Test(
    "the centre is restarted: they return over at least 30 seconds",
    arguments: [Duration.milliseconds(500), .seconds(20)])
  func restarted(downtime: Duration) throws {
    let times = try restart(spread: try Self.shippedSpread(), downtime: downtime)
    let (first, last) = (try #require(times.first), try #require(times.last))
    Campaign.tell(
      "100 gateways, the centre away for \(downtime)",
      "the first is back after \(Int(first)) s, the last after \(Int(last)) s, at most "
        + "\(peak(times)) in one second")
    #expect(last - first >= 30)
    #expect(last <= 62)
    #expect(peak(times) <= 15)
  }

  @Test("control: without the spread a short restart brings them all back within seconds")
  func control() throws {
    let times = try restart(spread: .zero, downtime: .milliseconds(500))
    let (first, last) = (try #require(times.first), try #require(times.last))
    #expect(last - first < 15)
    #expect(peak(times) > 30)
  }
}

/// Eight delivery loops to a journal, which is as many as a journal has cursors for.
private final class Gateways {
  let errors = Failures()
  private let controls: [SinkControl]
  private var journals: [JournalKeeper] = []

  init(port: UInt16, spread: Duration) throws {
    var controls: [SinkControl] = []
    var left = ReconnectStormTests.gatewayCount
    while left > 0 {
      let keeper = try JournalKeeper(sinkCount: min(left, Limits.sinksPerRouteMax))
      journals.append(keeper)
      for index in 0..<keeper.sinkCount {
        var connection = ConnectionOptions(
          endpoints: [BrokerEndpoint(host: "127.0.0.1", port: port)], clientID: "gw-\(left)-out")
        connection.cleanStart = true
        connection.sessionExpiry = .zero
        connection.reconnectSpread = spread
        let sink = SinkOptions(
          name: "sink-\(index)", connection: connection, topic: "penstock/v1/gw-\(left)/telemetry")
        let control = SinkControl(wakeUp: keeper.journal.wakeUp(sink: index))
        controls.append(control)
        // The product's own pauses.
        var options = LoopStage.Options()
        options.backoff = Backoff()
        keeper.start(sink, options, index: index, control: control, errors: errors)
        left -= 1
      }
    }
    self.controls = controls
  }

  func stop() {
    for control in controls { control.advance(to: .stop) }
  }

  deinit { stop() }
}

/// A journal without records, and the loops on it.
private final class JournalKeeper {
  let sinkCount: Int
  let journal: JournalState
  private var writer: JournalWriter
  private let directory: TemporaryDirectory
  private let loops = Running()

  init(sinkCount: Int) throws {
    self.sinkCount = sinkCount
    let directory = try TemporaryDirectory(prefix: "penstock-storm")
    var options = JournalOptions(
      gatewayID: "gw-1", routeName: "telemetry",
      sinks: (0..<sinkCount).map { JournalSink(name: "sink-\($0)") })
    options.capacity = ByteCount(68 * 4096)
    options.commitByteCountMax = ByteCount(8 * 4096)
    var environment = JournalEnvironment.posix
    environment.allowsUnsafeFilesystem = true
    environment.spacing = 4096
    let opened = try Journal.open(
      path: "\(directory.path)/telemetry.journal", options: options, environment: environment)
    journal = opened.state
    writer = opened.takeWriter()
    self.directory = directory
  }

  func start(
    _ sink: SinkOptions, _ options: LoopStage.Options, index: Int, control: SinkControl,
    errors: Failures
  ) {
    let (journal, loops, path) = (journal, loops, directory.path)
    loops.enter()
    Thread.start(name: "out") {
      errors.note {
        try deliver(
          journal, sink, options, index: index, control: control,
          deadLetterPath: path + "/telemetry.dead")
      }
      loops.leave()
    }
  }

  /// The files go when nobody looks at them any more.
  deinit { loops.waitForAll() }
}
