import Platform
import Synchronization

/// A campaign's cases on a number of threads.
package struct CampaignRun: Sendable {
  /// Failing cases beyond this are counted, not kept.
  package static let failuresKeptMax = 20

  package struct Failure: Sendable {
    package let seed: UInt64
    package let complaints: [String]
  }

  package struct Result: Sendable {
    package var tally = CampaignTally()
    package var failureCount: UInt64 = 0
    /// The first ones by seed.
    package var failures: [Failure] = []
  }

  private let campaign: Campaign
  private let seeds: Range<UInt64>
  private let options: CampaignOptions
  private let threadCount: Int

  package init(
    _ campaign: Campaign, seeds: Range<UInt64>, options: CampaignOptions = CampaignOptions(),
    threadCount: Int = 1
  ) {
    self.campaign = campaign
    self.seeds = seeds
    self.options = options
    self.threadCount = threadCount
  }

  /// Runs all cases and returns when the last one has ended. `progress` is called about ten times
  /// a second with the number of finished cases, on the calling thread.
  package func run(progress: (UInt64, Result) -> Void = { _, _ in }) throws -> Result {
    let trial = try campaign.prepare(options)
    let shared = Shared(next: seeds.lowerBound)
    let done = try WakeUp()
    do {
      var threads: [WorkerThread] = []
      for slot in 0..<max(threadCount, 1) {
        threads.append(
          try WorkerThread {
            work(trial, shared, slot: slot)
            done.signal()
          })
      }
      while shared.state.withLock({ $0.tally.cases }) < UInt64(seeds.count) {
        done.clear()
        progress(shared.state.withLock { $0.tally.cases }, shared.state.withLock { $0 })
        _ = Poll.wait(socket: nil, wakeUp: done, timeout: .milliseconds(100))
      }
    }
    return shared.state.withLock { $0 }
  }

  private final class Shared: Sendable {
    let state = Mutex(Result())
    let next: Atomic<UInt64>
    init(next: UInt64) { self.next = Atomic(next) }
  }

  /// Owns one thread; an array cannot hold what is not copyable.
  private final class WorkerThread: Sendable {
    private let thread: JoinedThread
    init(_ body: @escaping @Sendable () -> Void) throws(SystemError) {
      thread = try JoinedThread(name: "campaign", body)
    }
  }

  private func work(_ trial: Campaign.Trial, _ shared: Shared, slot: Int) {
    while true {
      let seed = shared.next.add(1, ordering: .relaxed).oldValue
      guard seed < seeds.upperBound else { return }
      TrappedCase.enter(seed, slot: slot)
      var result = CaseResult()
      do {
        result = try trial(seed)
      } catch {
        result.complaints.append("threw \(error)")
      }
      shared.state.withLock { state in
        state.tally += result.tally
        guard !result.complaints.isEmpty else { return }
        state.failureCount += 1
        state.failures.append(Failure(seed: seed, complaints: result.complaints))
        if state.failures.count > CampaignRun.failuresKeptMax {
          state.failures.sort { $0.seed < $1.seed }
          state.failures.removeLast()
        }
      }
    }
  }
}
