import Envelope
import GatewayCore
import JournalSimulation
import Platform
import RingJournal

@testable import Batching

/// A journal on the simulated disk whose clock is the test's, as far as the batches.
struct ClockStage: ~Copyable {
  private(set) var kit: JournalKit
  private var opened: OpenedJournal
  private var boot: UInt64 = 2

  /// - Parameter seed: of its epochs, among others.
  init(
    blocks: Int = 64, seed: UInt64 = 1, _ change: (inout JournalKit) -> Void = { _ in }
  ) throws {
    var kit = JournalKit(blocks: blocks, seed: seed)
    change(&kit)
    self.kit = kit
    opened = try kit.open()
  }

  var state: JournalState { opened.state }

  /// Each record as received now.
  mutating func commit(
    count: Int, payload: [UInt8] = [0x37], properties: [UInt8] = [], id: String = ""
  ) throws {
    let topic = Array("pumps/1/metrics".utf8)
    let text = Array(id.utf8)
    for _ in 0..<count {
      let draft = RecordDraft(
        idText: id.isEmpty ? .absent : .stored, receivedMonotonic: kit.clock.monotonic())
      while true {
        let result = try opened.writer.append(
          draft, topic: topic.span, idText: text.span, properties: properties.span,
          payload: payload.span)
        if case .appended = result { break }
        guard case .groupFull = result else { throw BatchKitError(result: result) }
        _ = try opened.writer.commit()
      }
    }
    _ = try opened.writer.commit()
  }

  /// The process dies and starts again.
  mutating func kill() throws {
    kit.disk.kill()
    opened = try kit.open()
  }

  /// The machine goes off without a word and comes back.
  mutating func reboot(off duration: Duration) throws {
    kit.disk.kill()
    boot += 1
    kit.clock.reboot(off: duration)
    kit.environment.bootID = BootID(high: 1, low: boot)
    opened = try kit.open()
  }

  /// Somebody puts an older image of the file back.
  mutating func restore(_ image: [UInt8]) throws {
    kit.disk.kill()
    kit.disk.damage(JournalKit.path) { $0 = image }
    opened = try kit.open()
  }

  func makeBatcher(_ change: (inout BatchOptions) -> Void = { _ in }) throws -> Batcher {
    var options = BatchOptions()
    options.compression = .none
    change(&options)
    return Batcher(
      reader: try state.makeReader(sink: 0), journal: state.identity.id,
      previous: state.identity.previous, epoch: state.epoch,
      route: RouteIdentity(gateway: "gw-1", site: "gw-1", name: "telemetry"), options: options)
  }

  /// All batches behind the cursor.
  func batches(_ change: (inout BatchOptions) -> Void = { _ in }) throws -> [Batch] {
    var batcher = try makeBatcher(change)
    return try batcher.all()
  }
}
