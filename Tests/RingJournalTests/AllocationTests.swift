// Goal: the journal allocates nothing per record. Method: the counting allocator around append and
// commit on a real file; its own negative control is in AuditTests. Cannot show: what a message
// cost before it got here.
import AllocationCounting
import GatewayCore
import Platform
import RingJournal
import Testing

@Suite("Allocations of the journal")
struct AllocationTests {
  /// Whatever a commit holds; one is the closure of the write, one more comes with a superblock.
  static let perCommitMax: UInt64 = 4

  @Test("appending a thousand records allocates nothing, committing them next to nothing")
  func appendAndCommit() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-journal")
    var environment = JournalEnvironment.posix
    environment.allowsUnsafeFilesystem = true
    var options = JournalOptions(
      gatewayID: "gw", routeName: "telemetry", sinks: [JournalSink(name: "central")])
    options.capacity = .mebibytes(16)
    var writer = try Journal.open(
      path: "\(directory.path)/telemetry.journal", options: options, environment: environment
    ).takeWriter()
    let topic = Array("pumps/ND01/metrics".utf8)
    let properties = [UInt8](repeating: 1, count: 20)
    let payload = [UInt8](repeating: 2, count: 200)
    let id = Array("id".utf8)
    let draft = RecordDraft(
      flags: .json, idHash: MessageIDHash(high: 1, low: 2), payloadDigest: 3, idText: .stored,
      receivedMonotonic: Clock.monotonic())
    func append(_ count: Int) throws -> UInt64 {
      var isWhole = true
      let cost = try AllocationCounter.measure {
        var index = 0
        while index < count {
          let result = try writer.append(
            draft, topic: topic.span, idText: id.span, properties: properties.span,
            payload: payload.span)
          if case .appended = result {} else { isWhole = false }
          index += 1
        }
      }
      #expect(isWhole)
      return cost.allocations
    }
    func commit() throws -> UInt64 {
      try AllocationCounter.measure { _ = try writer.commit() }.allocations
    }
    // Once, so that what grows has grown: the index, the lazily made.
    for _ in 0..<4 {
      _ = try append(1000)
      _ = try commit()
    }
    #expect(try append(10) == 0)
    let few = try commit()
    #expect(try append(1000) == 0)
    let many = try commit()
    #expect(few <= AllocationTests.perCommitMax)
    #expect(many <= AllocationTests.perCommitMax)
    try writer.close()
  }
}
