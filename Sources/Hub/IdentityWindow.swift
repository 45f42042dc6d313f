import Deduplication
import GatewayCore

/// The newest (source, id) of the event store, against what inbox positions cannot see: the same
/// event over the other gateway of a redundant pair, from a restored image, or from a journal that
/// was made anew. Rebuilt from the store at the start; there is no second file.
struct IdentityWindow: ~Copyable {
  private var window: DeduplicationWindow
  private let hasher: MessageHasher
  private var scratch: [UInt8] = []
  /// Admitted since `begin`.
  private var recent: [MessageIDHash] = []
  /// In the window, and yet not admitted. Nearly always empty.
  private var withdrawn: Set<MessageIDHash> = []

  enum Answer { case new, duplicate, conflict }

  init(capacity: Int) {
    window = DeduplicationWindow(capacity: capacity)
    hasher = MessageHasher(key: .random { .random(in: .min ... .max) })
  }

  /// What was admitted so far stays.
  mutating func begin() { recent.removeAll(keepingCapacity: true) }

  /// What was admitted since `begin` was not: the window cannot forget, so it is kept in mind.
  mutating func takeBack() {
    withdrawn.formUnion(recent)
    recent.removeAll(keepingCapacity: true)
  }

  /// Remembers what is new.
  /// - Parameter isCommitted: as a part of the store, and not of a group that may come to nothing.
  mutating func admit(
    source: Int64, id: String, payload: [UInt8], isCommitted: Bool = false
  ) -> Answer {
    let scope: [8 of UInt8] = .init { UInt8(truncatingIfNeeded: source >> ($0 * 8)) }
    let hash = hasher.hash(
      scope: scope.span, kind: .string, id: id.utf8.span, scratch: &scratch)
    let digest = hasher.digest(payload.span)
    let answer = window.check(hash, digest: digest)
    let wasWithdrawn = !withdrawn.isEmpty && withdrawn.remove(hash) != nil
    guard answer == .new || wasWithdrawn else {
      return answer == .conflict ? .conflict : .duplicate
    }
    if answer == .new { window.insert(hash, digest: digest) }
    if !isCommitted { recent.append(hash) }
    return .new
  }
}
