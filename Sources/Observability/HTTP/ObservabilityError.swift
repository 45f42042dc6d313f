/// Why a page or a log could not be served. The text says what to do.
package struct ObservabilityError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    /// The listen address cannot be bound.
    case listen
  }

  package let code: Code
  package let description: String
}
