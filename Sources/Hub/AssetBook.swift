import GatewayCore

/// All assets, in memory: the state that events fold into. Live path, rebuild and as-of use this
/// one fold, so that equality between them is more than hope.
package struct AssetBook: Sendable {
  /// What decides which of two readings is newer, beside their sequences.
  package struct Rank: Sendable, Hashable {
    /// Gateway and route: sequences compare within one.
    package var channel: String
    /// Of a journal among those of its channel: a later one replaced an earlier one.
    package var rank: Int64

    package init(channel: String, rank: Int64) {
      self.channel = channel
      self.rank = rank
    }
  }

  package private(set) var assets: [AssetState] = []
  private var indices: [String: Int] = [:]
  /// By inbox.
  private var ranks: [Int64: Rank] = [:]
  private var lastNumber: Int64 = 0

  package init() {}

  /// Takes over a stored state.
  package mutating func restore(_ state: AssetState) {
    lastNumber = max(lastNumber, state.number)
    if let index = indices[state.id] {
      assets[index] = state
    } else {
      indices[state.id] = assets.count
      assets.append(state)
    }
  }

  package mutating func setRank(_ rank: Rank, ofInbox inbox: Int64) { ranks[inbox] = rank }

  package func index(of id: String) -> Int? { indices[id] }

  package subscript(id: String) -> AssetState? { indices[id].map { assets[$0] } }

  /// The place of an asset, made when it is new. Numbers ascend from 1.
  package mutating func enter(_ id: String) -> Int {
    if let index = indices[id] { return index }
    let index = assets.count
    lastNumber += 1
    assets.append(AssetState(number: lastNumber, id: id))
    indices[id] = index
    return index
  }

  /// Folds one event in.
  package mutating func apply(_ event: HubEvent) { apply(event, at: enter(event.asset)) }

  mutating func apply(_ event: HubEvent, at index: Int) {
    let ranks = self.ranks
    assets[index].apply(event) { Self.isNewer($0, $1, ranks) }
  }

  /// Later in the same channel: a higher rank, or the same inbox and a higher sequence. Between
  /// channels there is no order but that of arrival.
  private static func isNewer(
    _ new: EventOrigin, _ old: ReadingOrigin, _ ranks: [Int64: Rank]
  ) -> Bool {
    if new.inbox == old.inbox { return new.sequence >= old.sequence }
    guard let newRank = ranks[new.inbox], let oldRank = ranks[old.inbox],
      newRank.channel == oldRank.channel
    else { return true }
    return newRank.rank >= oldRank.rank
  }

  /// Whether what comes from the first origin is newer than what came from the second.
  func isNewer(_ new: EventOrigin, than old: ReadingOrigin) -> Bool {
    Self.isNewer(new, old, ranks)
  }

  /// Over all assets, whatever the order in which they came.
  package var hash: StateHash {
    var hash = StateHash()
    for asset in assets.sorted(by: { $0.id < $1.id }) { hash.add(asset) }
    return hash
  }

  /// Assets that differ in more than times.
  package func differences(from other: AssetBook) -> [String] {
    func digest(_ state: AssetState?) -> StateHash? {
      state.map {
        var hash = StateHash()
        hash.add($0)
        return hash
      }
    }
    let ids = Set(indices.keys).union(other.indices.keys)
    return ids.filter { digest(self[$0]) != digest(other[$0]) }.sorted()
  }
}
