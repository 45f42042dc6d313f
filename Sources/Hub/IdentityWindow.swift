import Deduplication
import GatewayCore

/// The newest (source, id) of the event store, against what inbox positions cannot see: the same
/// event over the other gateway of a redundant pair, from a restored image, or from a journal that
/// was made anew. Rebuilt from the store at the start; there is no second file.
struct IdentityWindow: ~Copyable {
  private var window: DeduplicationWindow
  private let hasher: MessageHasher
  private var scratch: [UInt8] = []

  enum Answer { case new, duplicate, conflict }

  init(capacity: Int) {
    window = DeduplicationWindow(capacity: capacity)
    hasher = MessageHasher(key: .random { .random(in: .min ... .max) })
  }

  /// Remembers what is new.
  mutating func admit(source: Int64, id: String, payload: [UInt8]) -> Answer {
    let scope: [8 of UInt8] = .init { UInt8(truncatingIfNeeded: source >> ($0 * 8)) }
    let hash = hasher.hash(
      scope: scope.span, kind: .string, id: id.utf8.span, scratch: &scratch)
    let digest = hasher.digest(payload.span)
    switch window.check(hash, digest: digest) {
    case .new:
      window.insert(hash, digest: digest)
      return .new
    case .duplicate: return .duplicate
    case .conflict: return .conflict
    }
  }
}
