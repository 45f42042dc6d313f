import GatewayCore
import Platform
import RingJournal
import Synchronization

/// One seed's random life and death of a journal on the simulated disk, beside `ModelTruth`.
package struct ModelRun {
  package private(set) var result = CaseResult()
  var scenario: ModelScenario
  var kit: JournalKit
  var generator: SeededGenerator
  var truth = ModelTruth()
  /// Since the last opening that was checked, one began with a torn slot. It may have died after it
  /// had given new sinks their cursors.
  private var hasMetTornSlot = false
  private var nextPayload: UInt64 = 1
  /// What the configuration says; it changes only after an opening that returned.
  private var sinks: [JournalSink]

  package init(_ scenario: ModelScenario) {
    self.scenario = scenario
    generator = SeededGenerator(seed: scenario.seed)
    sinks = scenario.sinks
    kit = JournalKit(
      blocks: scenario.blockCount, commit: .kibibytes(12), sinks: scenario.sinks,
      disk: SimulatedDisk(sectorByteCount: scenario.sectorByteCount), seed: scenario.seed)
    kit.options.whenFull = scenario.whenFull
    truth.isTracing = scenario.isTracing
    kit.environment.isSyncDisabled = scenario.sabotage == .noSync
    kit.environment.isVerificationDisabled = scenario.sabotage == .noVerification
    if scenario.readsAhead { kit.environment.scanChunkByteCount = 8192 }
    let seed = generator.next()
    kit.disk.state.withLock { $0.generator = SeededGenerator(seed: seed) }
  }

  enum Finding { case lost, invented, wrong, duplicated, undetected, other }

  mutating func complain(_ finding: Finding, _ text: String, count: UInt64 = 1) {
    switch finding {
    case .lost: result.tally.lost += count
    case .invented: result.tally.invented += count
    case .wrong: result.tally.wrong += count
    case .duplicated: result.tally.duplicated += count
    case .undetected: result.tally.undetected += count
    case .other: break
    }
    result.complaints.append(text)
  }

  mutating func noteUnprovable(_ count: UInt64) { result.tally.unprovable += count }

  package mutating func play() throws {
    for _ in 0..<scenario.lifeCount {
      guard try survive({ run throws(Stop) in try run.live() }) else { return }
      die()
    }
    guard scenario.sabotage != .noSync else { return }
    // The last one must be able to live, whatever came before.
    kit.disk.state.withLock { $0.faults = DiskFaults() }
    _ = try survive { run throws(Stop) in _ = try run.open() }
  }

  /// Why a life ended early.
  enum Stop: Error {
    case journal(JournalError)
    case other(any Error)
  }

  /// False: there is nothing more to play.
  private mutating func survive(
    _ body: (inout ModelRun) throws(Stop) -> Void
  ) throws -> Bool {
    do throws(Stop) {
      try body(&self)
    } catch {
      guard case .journal(let failure) = error else {
        complain(.other, "threw \(error)")
        return false
      }
      // Power off or a failing disk, at any moment: creation, recovery, commit, superblock.
      let ofTheDisk: [JournalError.Code] = [
        .readFailed, .writeFailed, .poisoned, .openFailed, .createFailed,
      ]
      let isBeyondRescue = scenario.decays && !kit.disk.holdsIdentity()
      if isBeyondRescue { return false }
      guard ofTheDisk.contains(failure.code) else {
        complain(.other, "unexpected \(failure.code): \(failure)")
        return false
      }
    }
    return result.complaints.isEmpty
  }

  // MARK: A life

  private mutating func live() throws(Stop) {
    if Int.random(in: 0..<4, using: &generator) == 0 {
      powerOff(after: Int.random(in: 0..<5, using: &generator))
    }
    var journal = try open()
    guard result.complaints.isEmpty else { return }
    if Bool.random(using: &generator) {
      powerOff(after: Int.random(in: 0..<60, using: &generator))
    }
    kit.disk.state.withLock { $0.faults = scenario.faults }
    do throws(JournalError) {
      for _ in 0..<Int.random(in: 0..<80, using: &generator) {
        try step(&journal.writer, journal.state)
        observe(journal.state)
        guard result.complaints.isEmpty else { return }
      }
      if Int.random(in: 0..<3, using: &generator) == 0 {
        try journal.writer.close()
        for name in truth.sinks.keys { truth.sinks[name]?.settle() }
      }
    } catch {
      observe(journal.state)
      checkPoisoned(&journal.writer, after: error)
      throw .journal(error)
    }
    if Bool.random(using: &generator) { sinks = ModelScenario.randomSinks(&generator) }
  }

  private func powerOff(after operations: Int) {
    kit.disk.state.withLock { $0.operationsUntilPowerOff = operations }
  }

  private mutating func observe(_ state: JournalState) {
    truth.oldestKept = max(truth.oldestKept, state.oldestKept.rawValue)
    truth.absorb(kit.disk)
  }

  /// After a failed write or sync nothing is accepted any more.
  private mutating func checkPoisoned(
    _ writer: inout JournalWriter, after error: JournalError
  ) {
    guard error.code == .writeFailed else { return }
    do throws(JournalError) {
      _ = try writer.append([1])
      complain(.other, "appended after \(error)")
    } catch {
      if error.code != .poisoned { complain(.other, "\(error.code) instead of poisoned") }
    }
  }

  /// The end of a life: a power cut, or only the process dies; then time gnaws.
  private mutating func die() {
    if Int.random(in: 0..<4, using: &generator) == 0 {
      kit.disk.kill()
      if scenario.decays {
        // The kernel writes back before anyone opens the file again, so that the disk can be judged
        // before the opening.
        kit.disk.crash(.everything, seed: generator.next())
      }
    } else {
      let survivals: [SimulatedDisk.Survival] = [
        .nothing, .everything, .sectors, .sectors, .garbled,
      ]
      kit.disk.crash(
        survivals.randomElement(using: &generator) ?? .nothing, seed: generator.next())
      if Bool.random(using: &generator) {
        kit.clock.reboot()
        kit.environment.bootID = BootID(high: generator.next(), low: 2)
      }
    }
    truth.absorb(kit.disk)
    truth.trace("-- died")
    guard scenario.decays else { return }
    for _ in 0..<([0, 0, 1, 1, 2, 4].randomElement(using: &generator) ?? 0) { rot() }
  }

  private mutating func rot() {
    let byteCount = kit.disk.bytes(JournalKit.path).count
    guard byteCount > 0 else { return }
    var offset = Int.random(in: 0..<byteCount, using: &generator)
    // As often where the last groups are, because there it matters most.
    if Bool.random(using: &generator), let newest = truth.places[truth.last] {
      let blocks = Int.random(in: -2...1, using: &generator)
      offset = newest.offset + blocks * 4096 + Int.random(in: 0..<4096, using: &generator)
      offset = min(max(offset, 0), byteCount - 1)
    }
    let kind = SimulatedDisk.Rot.allCases.randomElement(using: &generator) ?? .bit
    truth.trace("rot: \(kind) at block \(offset / 4096), byte \(offset % 4096)")
    kit.disk.rot(JournalKit.path, at: offset, kind, seed: generator.next())
  }

  // MARK: Opening

  private mutating func open() throws(Stop) -> OpenedJournal {
    kit.options.sinks = sinks
    let isPending = kit.disk.pendingSectorCount(JournalKit.path) > 0
    kit.disk.state.withLock { $0.faults = scenario.faults }
    // What a killed process left in the cache may tear one, too.
    if isPending || !kit.disk.holdsBothSlots() { hasMetTornSlot = true }
    let before = DiskBefore(
      provable: truth.provable(kit.disk), whole: isPending ? nil : truth.wholeGroups(kit.disk),
      hadBothSlots: !hasMetTornSlot, newestSlot: truth.newestSlot(kit.disk),
      nextWrite: kit.disk.state.withLock { $0.nextWriteID })
    var visited: [(sequence: UInt64, payload: UInt64)] = []
    let journal: OpenedJournal
    do throws(JournalError) {
      journal = try kit.open { record, bytes in
        visited.append(
          (record.sequence.rawValue, ModelContents.payloadNumber(in: bytes, record.payload)))
      }
    } catch {
      throw .journal(error)
    }
    do {
      try check(
        journal.state, journal.report, visited: visited, before: before)
    } catch let error as JournalError {
      throw .journal(error)
    } catch {
      throw .other(error)
    }
    hasMetTornSlot = false
    return journal
  }

  // MARK: Operations

  private mutating func step(
    _ writer: inout JournalWriter, _ state: JournalState
  ) throws(JournalError) {
    switch Int.random(in: 0..<12, using: &generator) {
    case 0..<6:
      let burst = scenario.isLowRate ? 0 : Int.random(in: 0...3, using: &generator)
      for _ in 0...burst { try append(&writer) }
      if scenario.isLowRate || Int.random(in: 0..<10, using: &generator) > 0 {
        try commit(&writer)
      }
    case 6, 7: acknowledge(state)
    case 8:
      kit.clock.advance(.milliseconds(Int.random(in: 0...700, using: &generator)))
      if try writer.maintain(now: kit.clock.monotonic()) == nil {
        for name in truth.sinks.keys { truth.sinks[name]?.settle() }
      }
    case 9:
      kit.clock.stepWall(.milliseconds(Int.random(in: -200...200, using: &generator)))
      kit.clock.setSynchronised(Int.random(in: 0..<5, using: &generator) > 0)
    case 10: kit.disk.evict()
    default:
      let sink = Int.random(in: 0..<kit.options.sinks.count, using: &generator)
      do {
        try checkContents(state, sink: sink)
      } catch let error as JournalError {
        throw error
      } catch {
        complain(.other, "reading threw \(error)")
      }
    }
  }

  private mutating func acknowledge(_ state: JournalState) {
    let sink = Int.random(in: 0..<kit.options.sinks.count, using: &generator)
    let name = kit.options.sinks[sink].name
    let before = truth.sinks[name]?.acknowledged ?? 0
    let through = UInt64.random(
      in: before...max(state.committed.rawValue, before), using: &generator)
    if scenario.isLiveFirst, through > before, Int.random(in: 0..<3, using: &generator) > 0 {
      return acceptBeyond(
        state, sink, UInt64.random(in: before + 1...through, using: &generator)...through)
    }
    truth.sinks[name]?.acknowledge(through)
    noteFurthest(name)
    let told = scenario.sabotage == .cursorAhead ? state.committed : Sequence(through)
    state.acknowledge(sink, through: told)
  }

  /// A sink that takes what is new first.
  private mutating func acceptBeyond(
    _ state: JournalState, _ sink: Int, _ accepted: ClosedRange<UInt64>
  ) {
    let name = kit.options.sinks[sink].name
    var told = SequenceRange(Sequence(accepted.lowerBound), Sequence(accepted.upperBound))
    if scenario.sabotage == .intervalAhead { told = SequenceRange(told.first, state.committed) }
    guard state.accept(sink, told) else {
      if state.acceptedIntervals(sink).ranges.count < AcceptedIntervals.countMax {
        complain(.other, "no place for \(told) beside \(state.acceptedIntervals(sink).ranges)")
      }
      return
    }
    truth.sinks[name]?.beyond.formUnion(accepted)
    truth.sinks[name]?.acknowledge(0)
    noteFurthest(name)
  }

  private mutating func noteFurthest(_ name: String) {
    guard let sink = truth.sinks[name] else { return }
    truth.everAcknowledged[name] = max(truth.everAcknowledged[name] ?? 0, sink.acknowledged)
  }

  private mutating func append(_ writer: inout JournalWriter) throws(JournalError) {
    let byteCount = scenario.payloadByteCounts.randomElement(using: &generator) ?? 8
    let expected = truth.last + UInt64(truth.open.count) + 1
    switch try writer.append(ModelContents.payload(nextPayload, byteCount: byteCount)) {
    case .appended(let sequence):
      if scenario.sabotage != .earlyAcknowledgement && sequence.rawValue != expected {
        complain(.duplicated, "sequence \(sequence) instead of \(expected)")
      }
      truth.open[sequence.rawValue] = nextPayload
      if scenario.sabotage == .earlyAcknowledgement {
        truth.committed[sequence.rawValue] = nextPayload
        truth.last = sequence.rawValue
      }
      nextPayload += 1
    case .groupFull: try commit(&writer)
    case .ringFull:
      if scenario.whenFull == .dropOldest { complain(.other, "drop-oldest said full") }
    }
  }

  private mutating func commit(_ writer: inout JournalWriter) throws(JournalError) {
    let carried = truth.sinks
    truth.absorb(kit.disk)
    let receipt = try writer.commit()
    guard receipt.range != nil else { return }
    truth.commit(kit.disk)
    for (name, sink) in carried { truth.sinks[name]?.durable = sink.acknowledged }
  }
}
