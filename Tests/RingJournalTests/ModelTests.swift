// Goal: no committed record lost, none invented, none twice, none wrong, sequences dense, no cursor
// ahead of an acknowledgement, whatever crashes in between; redelivery bounded by what was durable.
// Method: random operations from a seed against the journal on the simulated disk and against a
// plain dictionary; the power goes at random operations, also during recovery; un-synced sectors
// survive at random. A failing seed is its own reproduction. Cannot show: lost directory entries,
// real kernels.
import GatewayCore
import JournalSimulation
import Platform
import RingJournal
import Synchronization
import Testing

@Suite("The journal against a model")
struct ModelTests {
  @Test("seeds of random life and death, block", arguments: 0..<8)
  func block(batch: Int) throws {
    for seed in batch * 30..<(batch + 1) * 30 {
      var run = try ModelRun(seed: UInt64(seed), policy: .block)
      try run.play()
      if !run.complaints.isEmpty {
        Issue.record("seed \(seed): \(run.complaints.prefix(3))")
        return
      }
    }
  }

  @Test("seeds of random life and death, drop-oldest", arguments: 0..<4)
  func dropOldest(batch: Int) throws {
    for seed in batch * 30..<(batch + 1) * 30 {
      var run = try ModelRun(seed: UInt64(1000 + seed), policy: .dropOldest)
      try run.play()
      if !run.complaints.isEmpty {
        Issue.record("seed \(1000 + seed): \(run.complaints.prefix(3))")
        return
      }
    }
  }

  @Test("negative control: without syncs the model finds losses")
  func withoutSync() throws {
    var found = 0
    for seed in 0..<20 {
      var run = try ModelRun(seed: UInt64(seed), policy: .block, isSyncDisabled: true)
      try run.play()
      if !run.complaints.isEmpty { found += 1 }
    }
    #expect(found >= 15)
  }
}
