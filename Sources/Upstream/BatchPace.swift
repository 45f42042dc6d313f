/// How large batches are, and how many may be in flight, on the link as it shows itself: a link
/// that breaks again and again before even one batch is through will never get a large one through.
///
///     two connections in a row ended with something under way and nothing accepted → half as much,
///                                                                  and with each further one
///     a batch is accepted                                        → twice as much, up to all
///
/// So a good link has batches as the configuration bounds them, full in a backlog and closed by
/// their age when little comes; on one that lasts for seconds they shrink until one fits. A pure
/// value.
package struct BatchPace: Sendable, Equatable {
  /// The least is this part of what the configuration allows, and at least one record.
  package static let divisorMax = 256

  /// What the limits are divided by.
  package private(set) var divisor = 1
  private var hasAccepted = false
  /// Connections in a row that carried nothing to its end.
  private var fruitlessCount = 0

  package init() {}

  /// Something got through.
  /// - Returns: whether the limits have changed.
  package mutating func accepted() -> Bool {
    hasAccepted = true
    fruitlessCount = 0
    guard divisor > 1 else { return false }
    divisor /= 2
    return true
  }

  /// The connection has ended.
  /// - Parameter hadSent: something was under way.
  /// - Returns: whether the limits have changed.
  package mutating func connectionEnded(hadSent: Bool) -> Bool {
    defer { hasAccepted = false }
    guard hadSent, !hasAccepted else { return false }
    fruitlessCount += 1
    guard fruitlessCount > 1, divisor < Self.divisorMax else { return false }
    divisor *= 2
    return true
  }
}
