// Goal: whatever the power does, nothing that was acknowledged is lost and the gateway comes up by
// itself. Method: the journal lives on a real filesystem behind a loop device; the filesystem is
// ended with the kernel's own shutdown call, which drops dirty pages and the log, at seeded random
// moments and in the instant in which a PUBACK arrives; one journal lives through all cuts of a
// campaign. Scripted brokers know what was sent, acknowledged and delivered. Each promise has a
// negative control. Cannot show: writes that tear inside themselves, and disks whose cache lies
// (see the journal's tests on a simulated disk).

import Audit
import GatewayCore
import Platform
import PumpTelemetry
import TestSupport
import Testing

/// When the power goes.
private enum Moment: String, Sendable, CaseIterable {
  /// At any time after the start, recovery included.
  case random
  /// When a PUBACK arrives, on the thread that receives it.
  case onAcknowledgement = "on the PUBACK"
}

/// One journal on one volume, and the cuts it lives through.
private final class PowerCuts {
  let volume: LoopVolume
  let power: PowerSwitch
  let stage: PowerStage
  private let load: PowerLoad
  private var generator: SplitMix64
  private(set) var allowedRedelivery: UInt64 = 0
  private(set) var cutCount = 0
  /// What breaks a promise on purpose, once the journal has been created.
  var sabotage: String?

  init(_ kind: LoopVolume.Kind, _ load: PowerLoad, seed: UInt64) throws {
    let volume = try LoopVolume(kind, byteCount: load.volumeByteCount)
    let power = try PowerSwitch()
    try volume.mount()
    self.volume = volume
    self.power = power
    self.load = load
    stage = try PowerStage(dataDirectory: try volume.makeDirectory("data"), load: load) {
      power.acknowledged()
    }
    generator = SplitMix64(seed: seed)
  }

  private func start() throws -> Int32 {
    try stage.gateway.start(environment: sabotage.map { ["PENSTOCK_TEST_SABOTAGE": $0] } ?? [:])
  }

  /// The first life: creates the journal and takes something.
  func begin() throws {
    _ = try start()
    stage.send(500)
    try stage.gateway.wait(for: "the first PUBACKs") { stage.acknowledgedCount == 500 }
    try stage.drain()
    guard try stage.gateway.stop() == 0 else { throw stage.gateway.failure("no clean stop") }
    try stage.waitForSilence()
    try volume.unmount()
  }

  /// Lives are short, the centre is often away, and what was delivered frees space only when its
  /// cursor has become durable: a ring that fills takes nothing any more, and there is no PUBACK to
  /// cut on. Each ring holds about twice the backlog of its load.
  private var caughtUpAt = 0

  /// A life without a cut, in which everything is delivered.
  private func catchUp() throws {
    defer { caughtUpAt = stage.acknowledgedCount }
    stage.central.withRole { $0.isAway = false }
    try volume.mount()
    _ = try start()
    try stage.drain()
    guard try stage.gateway.stop() == 0 else { throw stage.gateway.failure("no clean stop") }
    try stage.waitForSilence()
    try volume.unmount()
  }

  /// One life and its end.
  func live(until moment: Moment) throws {
    if stage.acknowledgedCount - caughtUpAt > load.backlogMax { try catchUp() }
    try volume.mount()
    // Away, the centre hides nothing: what was acknowledged is on the disk or nowhere.
    let isCentreAway = sabotage != nil || Bool.random(using: &generator)
    stage.central.withRole { $0.isAway = isCentreAway }
    let before = stage.acknowledgedCount
    let process = try start()
    switch moment {
    case .onAcknowledgement:
      let count = Int.random(in: 1...load.backlogMax * 3 / 10, using: &generator)
      try power.arm(mountPoint: volume.mountPoint, process: process, acknowledgements: count)
      stage.send(1 << 30)
    case .random:
      try power.arm(mountPoint: volume.mountPoint, process: process, acknowledgements: nil)
      stage.send(1 << 30)
      // Every second life is allowed to acknowledge something first.
      if !cutCount.isMultiple(of: 2) {
        try stage.gateway.wait(for: "a PUBACK") { stage.acknowledgedCount > before }
      }
      let delay = Duration.milliseconds(Int64.random(in: 0...250, using: &generator))
      if let status = try stage.gateway.ended(within: delay) {
        throw stage.gateway.failure("the gateway ended with \(status) before the cut")
      }
      power.cut()
    }
    guard try power.waitForCut(atMost: .seconds(30)) else {
      throw stage.gateway.failure("the PUBACK to cut on did not come")
    }
    allowedRedelivery += stage.redeliveryAfterCut()
    try stage.gateway.kill()
    try stage.waitForSilence()
    try volume.unmount()
    cutCount += 1
  }

  /// The last life: everything that was acknowledged must come. A sabotaged journal has lost what
  /// the drain would wait for.
  func finish() throws -> AuditReport {
    let isSabotaged = sabotage != nil
    sabotage = nil
    stage.central.withRole { $0.isAway = false }
    try volume.mount()
    _ = try start()
    do {
      try stage.drain(within: .seconds(isSabotaged ? 2 : 60))
    } catch {
      if !isSabotaged { throw error }
    }
    guard try stage.gateway.stop() == 0 else { throw stage.gateway.failure("no clean stop") }
    try stage.waitForSilence()
    largestGroupByteCount = try Self.largestGroupByteCount(of: stage.gateway.journalPath)
    try volume.unmount()
    return try stage.report()
  }

  /// Of those that the ring still holds at the end.
  private(set) var largestGroupByteCount = 0

  /// Looks for the headers of groups at the beginnings of blocks, apart from the product's code.
  private static func largestGroupByteCount(of path: String) throws -> Int {
    let bytes = try File.readSmall(path, byteCountMax: 64 << 20)
    func word(_ offset: Int, _ count: Int) -> Int {
      (0..<count).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
    }
    return stride(from: 0, to: bytes.count, by: 4096)
      .filter { word($0, 8) == 0x5055_5247_5453_4e50 }
      .map { word($0 + 68, 4) }.max() ?? 0
  }
}

@Suite("the power goes", .serialized)
struct PowerCutTests {
  private func run(
    _ kind: LoopVolume.Kind, _ moment: Moment, _ load: PowerLoad = .small, cuts: Int
  ) throws {
    let start = Stopwatch()
    let seed = Campaign.seed
    let run = try PowerCuts(kind, load, seed: seed)
    try run.begin()
    for _ in 0..<cuts { try run.live(until: moment) }
    let report = try run.finish()
    Campaign.tell(
      "power cut, \(kind.rawValue), \(load.testDescription), \(moment.rawValue), seed \(seed)",
      runs: "\(cuts) cuts", report.counts, since: start)
    #expect(
      report.isClean(allowedRedelivery: run.allowedRedelivery),
      "\(report.table(allowedRedelivery: run.allowedRedelivery))")
    #expect(report.counts.acknowledged == report.counts.sent)
    #expect(report.counts.delivered >= 500)
    // Larger ones are what reaches the disk in pieces.
    #expect((run.largestGroupByteCount > 256 << 10) == (load.volumeByteCount != nil))
  }

  @Test(
    "control: without the sync of a commit, and with PUBACKs before it, losses are found",
    .enabled(
      if: LoopVolume.Kind.isPossible(.ext4), .init(rawValue: LoopVolume.Kind.obstacle(.ext4))),
    arguments: [
      ("no-sync", PowerLoad.small), ("ack-before-commit", .small), ("no-sync", .large),
    ])
  private func control(sabotage: String, load: PowerLoad) throws {
    let start = Stopwatch()
    let run = try PowerCuts(.ext4, load, seed: Campaign.seed)
    try run.begin()
    run.sabotage = sabotage
    for _ in 0..<2 { try run.live(until: .onAcknowledgement) }
    let report = try run.finish()
    Campaign.tell(
      "control, \(sabotage), \(load.testDescription)", runs: "\(run.cutCount) cuts",
      report.counts, since: start)
    #expect(report.counts.lost > 0, "\(report.table(allowedRedelivery: 0))")
  }

  private static let share = max(1, Campaign.cutCount / 6)

  @Test(
    "ext4: nothing acknowledged is lost",
    .enabled(
      if: LoopVolume.Kind.isPossible(.ext4), .init(rawValue: LoopVolume.Kind.obstacle(.ext4))),
    arguments: Moment.allCases)
  private func ext4(moment: Moment) throws { try run(.ext4, moment, cuts: Self.share) }

  @Test(
    "ext4, groups of up to 1 MiB in pieces: nothing acknowledged is lost",
    .enabled(
      if: LoopVolume.Kind.isPossible(.ext4), .init(rawValue: LoopVolume.Kind.obstacle(.ext4))),
    arguments: Moment.allCases)
  private func pieces(moment: Moment) throws {
    try run(.ext4, moment, .large, cuts: Self.share)
  }

  @Test(
    "ext4 without journal: nothing acknowledged is lost",
    .enabled(
      if: LoopVolume.Kind.isPossible(.ext4WithoutJournal),
      .init(rawValue: LoopVolume.Kind.obstacle(.ext4WithoutJournal))),
    arguments: Moment.allCases)
  private func ext4WithoutJournal(moment: Moment) throws {
    try run(.ext4WithoutJournal, moment, cuts: Self.share)
  }

  @Test(
    "XFS: nothing acknowledged is lost",
    .enabled(if: LoopVolume.Kind.isPossible(.xfs), .init(rawValue: LoopVolume.Kind.obstacle(.xfs))),
    arguments: Moment.allCases)
  private func xfs(moment: Moment) throws { try run(.xfs, moment, cuts: Self.share) }
}

@Suite("the power goes while a journal is created", .serialized)
struct CreationCutTests {
  @Test(
    "there is a whole journal afterwards or none, and the next start needs no help",
    .enabled(
      if: LoopVolume.Kind.isPossible(.ext4), .init(rawValue: LoopVolume.Kind.obstacle(.ext4))))
  func creation() throws {
    let start = Stopwatch()
    var generator = SplitMix64(seed: Campaign.seed)
    var wholeCount = 0
    for _ in 0..<Campaign.callCount {
      let volume = try LoopVolume(.ext4)
      try volume.mount()
      let power = try PowerSwitch()
      let stage = try PowerStage(dataDirectory: try volume.makeDirectory("data"))
      let process = try stage.gateway.start()
      try power.arm(mountPoint: volume.mountPoint, process: process, acknowledgements: nil)
      // Creating 16 MiB here takes some 20 to 100 ms.
      let delay = Duration.milliseconds(Int64.random(in: 0...150, using: &generator))
      _ = try stage.gateway.ended(within: delay)
      power.cut()
      #expect(try power.waitForCut(atMost: .seconds(10)))
      try stage.gateway.kill()
      try stage.waitForSilence()
      try volume.unmount()
      try volume.mount()
      if (try? FileStatus(path: stage.gateway.journalPath)) != nil { wholeCount += 1 }
      try stage.gateway.start()
      stage.send(100)
      try stage.gateway.wait(for: "PUBACKs") { stage.acknowledgedCount == 100 }
      try stage.drain()
      #expect(try stage.gateway.stop() == 0)
      let report = try stage.report()
      #expect(report.isClean(allowedRedelivery: 0), "\(report.table(allowedRedelivery: 0))")
    }
    Console.line(
      "campaign power cut while creating: \(Campaign.callCount) cuts, \(wholeCount) journals were "
        + "whole, the others were created anew, \(start.seconds()) s")
  }
}

@Suite("the disk is pulled out", .serialized)
struct PulledDiskTests {
  /// What more would bring does not fit into the ring, and a full one acknowledges nothing.
  private static let pullCount = min(Campaign.callCount, 12)

  @Test(
    "the gateway stops with 74, tells no gaps, and delivers everything when the disk is back",
    .enabled(
      if: LoopVolume.Kind.isPossible(.ext4), .init(rawValue: LoopVolume.Kind.obstacle(.ext4))))
  func pulledOut() throws {
    let start = Stopwatch()
    let volume = try LoopVolume(.ext4)
    try volume.mount()
    let power = try PowerSwitch()
    let stage = try PowerStage(dataDirectory: try volume.makeDirectory("data"))
    for round in 0..<Self.pullCount {
      if !volume.isMounted { try volume.mount() }
      // Away first, so that there is something to read when the disk goes.
      stage.central.withRole { $0.isAway = round.isMultiple(of: 2) }
      try stage.gateway.start()
      let before = stage.acknowledgedCount
      stage.send(1 << 30)
      try stage.gateway.wait(for: "PUBACKs") { stage.acknowledgedCount > before + 500 }
      try power.arm(mountPoint: volume.mountPoint, process: nil, acknowledgements: nil)
      power.cut()
      #expect(try stage.gateway.waitForEnd() == 74)
      try stage.waitForSilence()
      try volume.unmount()
    }
    try volume.mount()
    stage.central.withRole { $0.isAway = false }
    try stage.gateway.start()
    try stage.drain()
    #expect(try stage.gateway.stop() == 0)
    try stage.waitForSilence()
    let report = try stage.report()
    Campaign.tell(
      "disk pulled out", runs: "\(Self.pullCount) times", report.counts, since: start)
    #expect(report.isClean(allowedRedelivery: .max), "\(report.table(allowedRedelivery: .max))")
  }

  /// No input, so that nothing but the reader can notice.
  @Test(
    "a reader that finds no disk stops the gateway instead of giving everything up",
    .enabled(
      if: LoopVolume.Kind.isPossible(.ext4), .init(rawValue: LoopVolume.Kind.obstacle(.ext4))))
  func readerAlone() throws {
    let volume = try LoopVolume(.ext4)
    try volume.mount()
    let power = try PowerSwitch()
    let stage = try PowerStage(dataDirectory: try volume.makeDirectory("data"))
    stage.central.withRole { $0.isAway = true }
    try stage.gateway.start()
    stage.send(2000)
    try stage.gateway.wait(for: "the PUBACKs") { stage.acknowledgedCount == 2000 }
    try power.arm(mountPoint: volume.mountPoint, process: nil, acknowledgements: nil)
    power.cut()
    stage.central.withRole { $0.isAway = false }
    #expect(try stage.gateway.waitForEnd(within: .seconds(60)) == 74)
    #expect(stage.gateway.log.contains("can be read any more"), "\(stage.gateway.log)")
    #expect(stage.ledger.counts.gaps == 0)
    try stage.waitForSilence()
    try volume.unmount()
    try volume.mount()
    try stage.gateway.start()
    try stage.drain()
    #expect(try stage.gateway.stop() == 0)
    let report = try stage.report()
    #expect(report.isClean(allowedRedelivery: .max), "\(report.table(allowedRedelivery: .max))")
  }
}
