import GatewayCore
import Platform
package import RingJournal
import Synchronization

package struct ModelRun {
  package var kit: JournalKit
  package var generator: SeededGenerator
  package var complaints: [String] = []
  package let policy: WhenFull

  // The model.
  package var committed: [UInt64: UInt64] = [:]
  /// Appended since the last commit that returned.
  package var open: [UInt64: UInt64] = [:]
  package var acknowledged: [UInt64]
  /// Cursors that are durable for certain: the last commit or idle sync carried them.
  package var durable: [UInt64]
  package var nextPayload: UInt64 = 1

  package init(seed: UInt64, policy: WhenFull, isSyncDisabled: Bool = false) throws {
    generator = SeededGenerator(seed: seed)
    self.policy = policy
    var sinks: [JournalSink] = [.central]
    if Bool.random(using: &generator) { sinks.append(JournalSink(name: "second")) }
    kit = JournalKit(
      blocks: [16, 24, 64].randomElement(using: &generator) ?? 16, commit: .kibibytes(12),
      sinks: sinks)
    kit.options.whenFull = policy
    kit.environment.isSyncDisabled = isSyncDisabled
    acknowledged = [UInt64](repeating: 0, count: sinks.count)
    durable = acknowledged
  }

  package mutating func play() throws {
    for _ in 0..<6 {
      do {
        if Int.random(in: 0..<4, using: &generator) == 0 {
          powerOff(after: Int.random(in: 0..<4, using: &generator))
        }
        try live()
      } catch let error as JournalError {
        // Power off, at any moment: creation, recovery, commit, superblock.
        let ofTheDisk: [JournalError.Code] = [
          .readFailed, .writeFailed, .poisoned, .openFailed, .createFailed,
        ]
        guard ofTheDisk.contains(error.code) else {
          complaints.append("unexpected \(error.code): \(error)")
          return
        }
      }
      let survivals: [SimulatedDisk.Survival] = [
        .nothing, .everything, .sectors, .sectors, .garbled,
      ]
      kit.disk.crash(
        survivals.randomElement(using: &generator) ?? .nothing, seed: generator.next())
      if !complaints.isEmpty { return }
    }
    if !kit.environment.isSyncDisabled { try live(isLast: true) }
  }

  private func powerOff(after operations: Int) {
    kit.disk.state.withLock { $0.operationsUntilPowerOff = operations }
  }

  private mutating func live(isLast: Bool = false) throws {
    var visited: [UInt64] = []
    var wrong: [UInt64] = []
    let (committed, open) = (self.committed, self.open)
    var journal = try kit.open { record, bytes in
      let sequence = record.sequence.rawValue
      visited.append(sequence)
      let payload = ModelRun.number(in: bytes, record.payload)
      if payload != committed[sequence] && payload != open[sequence] { wrong.append(sequence) }
    }
    if !wrong.isEmpty { complaints.append("visited wrong \(wrong)") }
    if zip(visited, visited.dropFirst()).contains(where: { $0 >= $1 }) {
      complaints.append("visited out of order")
    }
    try check(journal.state, visited: Set(visited))
    guard complaints.isEmpty else { return }
    if isLast { return }
    if Bool.random(using: &generator) {
      powerOff(after: Int.random(in: 0..<60, using: &generator))
    }
    for _ in 0..<Int.random(in: 0..<80, using: &generator) {
      try step(&journal.writer, journal.state)
    }
    if Int.random(in: 0..<3, using: &generator) == 0 {
      try journal.writer.close()
      durable = acknowledged
    }
  }

  /// What recovery must have given.
  private mutating func check(_ state: JournalState, visited: Set<UInt64>) throws {
    let last = committed.keys.max() ?? 0
    let found = state.committed.rawValue
    if found < last { complaints.append("committed \(found) < \(last)") }
    // A last group that was written but never confirmed may be there: whole, and as it was
    // appended.
    for sequence in stride(from: last + 1, through: found, by: 1) {
      guard let payload = open[sequence] else {
        complaints.append("invented \(sequence)")
        return
      }
      committed[sequence] = payload
    }
    open = [:]
    for sink in acknowledged.indices {
      let cursor = state.acknowledged(sink).rawValue
      if cursor > acknowledged[sink] { complaints.append("cursor ahead: \(cursor)") }
      if cursor < durable[sink] { complaints.append("cursor \(cursor) < durable \(durable[sink])") }
      acknowledged[sink] = cursor
      durable[sink] = cursor
      try checkContents(state, sink: sink, visited: visited)
    }
  }

  private mutating func checkContents(
    _ state: JournalState, sink: Int, visited: Set<UInt64>
  ) throws {
    var expected = state.acknowledged(sink).rawValue + 1
    let contents = try ModelContents.read(state, sink: sink)
    for part in contents.parts {
      switch part {
      case .record(let sequence, let payload):
        if sequence != expected { complaints.append("\(sequence) instead of \(expected)") }
        if payload != committed[sequence] { complaints.append("wrong bytes at \(sequence)") }
        if !visited.isEmpty && !visited.contains(sequence) {
          complaints.append("\(sequence) not visited")
        }
        expected = sequence + 1
      case .gap(let gap):
        if policy == .block || gap.reason != .ringFull {
          complaints.append("gap \(gap.range) \(gap.reason)")
        }
        if gap.range.first.rawValue != expected { complaints.append("gap begins elsewhere") }
        expected = gap.range.last.rawValue + 1
      }
    }
    if expected != state.committed.rawValue + 1 { complaints.append("ends at \(expected)") }
  }

  private mutating func step(_ writer: inout JournalWriter, _ state: JournalState) throws {
    switch Int.random(in: 0..<10, using: &generator) {
    case 0..<5:
      for _ in 0...Int.random(in: 0...3, using: &generator) { try append(&writer) }
      if Int.random(in: 0..<10, using: &generator) > 0 { try commit(&writer) }
    case 5, 6:
      let sink = Int.random(in: 0..<acknowledged.count, using: &generator)
      let through = UInt64.random(
        in: acknowledged[sink]...max(state.committed.rawValue, acknowledged[sink]),
        using: &generator)
      acknowledged[sink] = through
      state.acknowledge(sink, through: Sequence(through))
    case 7:
      kit.clock.advance(.milliseconds(Int.random(in: 0...700, using: &generator)))
      try writer.maintain(now: kit.clock.monotonic())
    case 8:
      kit.clock.stepWall(.milliseconds(Int.random(in: -200...200, using: &generator)))
    default:
      let sink = Int.random(in: 0..<acknowledged.count, using: &generator)
      try checkContents(state, sink: sink, visited: [])
    }
  }

  private mutating func append(_ writer: inout JournalWriter) throws {
    let count = [8, 8, 40, 200, 900, 5000].randomElement(using: &generator) ?? 8
    var payload = [UInt8](repeating: 0xee, count: count)
    for index in 0..<8 { payload[index] = UInt8(truncatingIfNeeded: nextPayload >> (8 * index)) }
    switch try writer.append(payload) {
    case .appended(let sequence):
      if open[sequence.rawValue] != nil || committed[sequence.rawValue] != nil {
        complaints.append("sequence \(sequence) twice")
      }
      open[sequence.rawValue] = nextPayload
      nextPayload += 1
    case .groupFull: try commit(&writer)
    case .ringFull:
      if policy == .dropOldest { complaints.append("drop-oldest said full") }
    }
  }

  private mutating func commit(_ writer: inout JournalWriter) throws {
    let carried = acknowledged
    let receipt = try writer.commit()
    guard receipt.range != nil else { return }
    committed.merge(open) { $1 }
    open = [:]
    durable = carried
  }

  package static func number(in bytes: Span<UInt8>, _ range: Range<Int>) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<min(8, range.count) {
      value |= UInt64(bytes[range.lowerBound + index]) << (8 * UInt64(index))
    }
    return value
  }
}
