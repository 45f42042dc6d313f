package import GatewayCore

/// The lives of a journal of which the ring held records when it was opened: which epoch numbered
/// records how far. Who speaks of an epoch that is not here speaks of another life, as when an
/// older image of the disk was put back, and there the same numbers stand for other records.
package struct EpochLineage: Sendable, Hashable {
  /// Older ones are forgotten: what they numbered has long been delivered, or nearly so.
  package static let countMax = 64

  private var lives: [Life] = []

  private struct Life: Sendable, Hashable {
    let epoch: Epoch
    var last: Sequence
  }

  package init() {}

  /// A record of this epoch.
  mutating func note(_ epoch: Epoch, _ last: Sequence) {
    if let known = lives.lastIndex(where: { $0.epoch == epoch }) {
      lives[known].last = max(lives[known].last, last)
      return
    }
    if lives.count == Self.countMax { lives.removeFirst() }
    lives.append(Life(epoch: epoch, last: last))
  }

  /// The last sequence that the epoch numbered, of those that were found.
  package func last(of epoch: Epoch) -> Sequence? { lives.first { $0.epoch == epoch }?.last }
}
