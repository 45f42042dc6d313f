// Goal: a disk that is too small, full or read-only is told in words and loses nothing. Method:
// real filesystems behind loop devices, filled or made read-only under the real process. Cannot
// show: quotas of other filesystems.

import Audit
import GatewayCore
import Glibc
import Platform
import TestSupport
import Testing

@Suite(
  "a disk that is full or read-only", .serialized,
  .enabled(if: LoopVolume.Kind.isPossible(.ext4), .init(rawValue: LoopVolume.Kind.obstacle(.ext4))))
struct FullDiskTests {
  private func exists(_ path: String) -> Bool { (try? FileStatus(path: path)) != nil }

  @Test("a journal that does not fit is refused before a byte is written")
  func doesNotFit() throws {
    let volume = try LoopVolume(.ext4, byteCount: 8 << 20)
    try volume.mount()
    let stage = try PowerStage(dataDirectory: try volume.makeDirectory("data"))
    try stage.gateway.start()
    #expect(try stage.gateway.waitForEnd() == 78)
    #expect(stage.gateway.log.contains("needs 16MiB, the filesystem has"), "\(stage.gateway.log)")
    #expect(!exists(stage.gateway.journalPath))
    #expect(!exists(stage.gateway.journalPath + ".creating"))
  }

  @Test(
    "a disk that runs full while the journal is created leaves nothing behind",
    .enabled(if: Trace.isPossible, "needs strace and the right to trace a child"))
  func fullDuringCreation() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-full")
    let stage = try PowerStage(dataDirectory: try directory.makeSubdirectory("data"))
    for number in 1...Campaign.callCount {
      try stage.gateway.start(
        wrapper: Trace.wrapper(
          into: "\(directory.path)/trace-\(number)", "pwrite64:error=ENOSPC:when=\(number)"))
      #expect(try stage.gateway.waitForEnd() == 74)
      #expect(stage.gateway.log.contains("could not be created; check space"))
      #expect(!exists(stage.gateway.journalPath))
      #expect(!exists(stage.gateway.journalPath + ".creating"))
      // A ring of 16 MiB is filled by 16 writes; the superblocks and identities are 4 more.
      if number == 20 { break }
    }
    try stage.gateway.start()
    stage.send(10)
    try stage.gateway.wait(for: "PUBACKs") { stage.acknowledgedCount == 10 }
    try stage.drain()
    #expect(try stage.gateway.stop() == 0)
  }

  @Test("a filesystem that others fill disturbs neither the running gateway nor its next start")
  func filledByOthers() throws {
    let start = Stopwatch()
    let volume = try LoopVolume(.ext4)
    try volume.mount()
    let stage = try PowerStage(dataDirectory: try volume.makeDirectory("data"))
    try stage.gateway.start()
    stage.send(500)
    try stage.gateway.wait(for: "PUBACKs") { stage.acknowledgedCount == 500 }
    try fill(volume.mountPoint + "/others")
    stage.send(2000)
    try stage.gateway.wait(for: "PUBACKs") { stage.acknowledgedCount == 2500 }
    try stage.drain()
    #expect(try stage.gateway.stop() == 0)
    try stage.gateway.start()
    stage.send(500)
    try stage.gateway.wait(for: "PUBACKs") { stage.acknowledgedCount == 3000 }
    try stage.drain()
    #expect(try stage.gateway.stop() == 0)
    let report = try stage.report()
    Campaign.tell("full filesystem", runs: "1 disk", report.counts, since: start)
    #expect(report.isClean(allowedRedelivery: 0), "\(report.table(allowedRedelivery: 0))")
  }

  /// Until not even root gets another byte.
  private func fill(_ path: String) throws {
    let file = try File.open(path, flags: O_WRONLY | O_CREAT, mode: 0o600)
    for size in [1 << 20, 4096, 1] {
      let bytes = [UInt8](repeating: 0x55, count: size)
      while unsafe write(file.raw, bytes, size) == size {}
    }
    try #require(errno == ENOSPC)
    sync()
  }

  @Test("a filesystem that turns read-only stops the gateway; the next start says why")
  func readOnly() throws {
    let start = Stopwatch()
    let volume = try LoopVolume(.ext4)
    try volume.mount(options: "errors=remount-ro")
    let stage = try PowerStage(dataDirectory: try volume.makeDirectory("data"))
    try stage.gateway.start()
    stage.send(1 << 30)
    try stage.gateway.wait(for: "PUBACKs") { stage.acknowledgedCount > 500 }
    let device = volume.device.split(separator: "/").last ?? ""
    let trigger = try File.open("/sys/fs/ext4/\(device)/trigger_fs_error", flags: O_WRONLY)
    try #require(unsafe write(trigger.raw, "1", 1) == 1)
    #expect(try stage.gateway.waitForEnd() == 74)
    try stage.waitForSilence()
    #expect(stage.gateway.log.contains("nothing more is acknowledged"), "\(stage.gateway.log)")
    try stage.gateway.start()
    #expect(try stage.gateway.waitForEnd() == 74)
    #expect(stage.gateway.log.contains("Read-only file system"), "\(stage.gateway.log)")
    try volume.unmount()

    try volume.mount()
    try stage.gateway.start()
    try stage.drain()
    #expect(try stage.gateway.stop() == 0)
    let report = try stage.report()
    Campaign.tell("read-only filesystem", runs: "1 disk", report.counts, since: start)
    #expect(report.isClean(allowedRedelivery: .max), "\(report.table(allowedRedelivery: .max))")
  }
}

@Suite(
  "sectors that cannot be read", .serialized,
  .enabled(if: Trace.isPossible, "needs strace and the right to trace a child"))
struct UnreadableSectorTests {
  struct Failing: Sendable, CustomTestStringConvertible {
    var count: Int
    /// The first call of the first run; later runs begin later.
    var from: Int
    var testDescription: String { "\(count) of pread64 from the \(from)th on" }
  }

  @Test(
    "reads that fail at the start cost at most their own records, and a gap tells them",
    arguments: [
      // One read, whichever it is. Six are of the superblocks and the identity.
      Failing(count: 1, from: 1),
      // A stretch behind them, which no second try gets.
      Failing(count: 12, from: 7),
    ])
  func unreadable(failing: Failing) throws {
    let start = Stopwatch()
    let directory = try TemporaryDirectory(prefix: "penstock-unreadable")
    var lost: UInt64 = 0
    var gaps: UInt64 = 0
    // Opening and delivering 3,000 records is some 15 reads for the thread that reads most.
    let startCount = min(Campaign.callCount, 8)
    for number in 1...startCount {
      let first = failing.from + number - 1
      let scratch = try TemporaryDirectory(prefix: "penstock-unreadable")
      let stage = try PowerStage(dataDirectory: try scratch.makeSubdirectory("data"))
      stage.central.withRole { $0.isAway = true }
      try stage.gateway.start()
      stage.send(3000)
      try stage.gateway.wait(for: "PUBACKs") { stage.acknowledgedCount == 3000 }
      try stage.gateway.kill()
      try stage.waitForSilence()
      stage.central.withRole { $0.isAway = false }
      try stage.gateway.start(
        wrapper: Trace.wrapper(
          into: "\(directory.path)/trace-\(number)",
          "pread64:error=EIO:when=\(first)..\(first + failing.count - 1)",
          file: stage.gateway.journalPath))
      try stage.gateway.wait(for: "everything to be accounted for") {
        let counts = stage.ledger.counts
        return counts.outstanding == counts.gapSequences
      }
      let report = try stage.report()
      #expect(report.counts.lost == report.counts.gapSequences, "call \(number)")
      #expect(report.counts.corrupt + report.counts.invented + report.counts.duplicated == 0)
      lost += report.counts.lost
      gaps += report.counts.gaps
      #expect(Trace(path: "\(directory.path)/trace-\(number)").firstInjected != nil)
    }
    Console.line(
      "campaign \(failing.testDescription): \(startCount) starts, \(lost) records in \(gaps) "
        + "gaps, wrong 0, \(start.seconds()) s")
  }
}
