package import GatewayCore

/// Why an envelope could not be made or read.
package struct EnvelopeError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Code: Hashable, Sendable {
    /// More bytes, compressed or not, than the reader's limit.
    case tooLarge
    /// Begins like zstd, but does not decompress.
    case badCompression
    /// Not a JSON text.
    case notJSON
    /// A version this reader does not know.
    case unsupportedVersion
    /// JSON, but not an envelope: a member is missing, twice there or of the wrong form.
    case malformed
    /// Events, gaps and elided ranges do not cover first...last exactly.
    case unaccounted
    /// No memory to decompress.
    case outOfMemory
  }

  package let code: Code
  /// Where in the decompressed text; nil when it is not about one place.
  package let offset: Int?
  /// The first sequence that is not accounted for exactly once.
  package let sequence: Sequence?
  /// The member in question, or the library's own word.
  package let detail: String?

  init(
    _ code: Code, offset: Int? = nil, sequence: Sequence? = nil, detail: String? = nil
  ) {
    self.code = code
    self.offset = offset
    self.sequence = sequence
    self.detail = detail
  }

  package var description: String {
    let about = (detail.map { " (\($0))" } ?? "") + (offset.map { " at byte \($0)" } ?? "")
    return switch code {
    case .tooLarge:
      "the envelope is larger than this reader allows\(about): raise its limit if it is genuine"
    case .badCompression:
      "the envelope begins like zstd but does not decompress\(about): it was damaged on the way"
    case .notJSON:
      "the envelope is not JSON\(about): check that only gateways publish on this topic"
    case .unsupportedVersion:
      "the envelope is of a version this reader does not know\(about): update the reader"
    case .malformed:
      "the JSON is not an envelope\(about): check that only gateways publish on this topic"
    case .unaccounted:
      "the envelope does not account for sequence \(sequence?.description ?? "?") exactly once: "
        + "treat it as lost and report the gateway's version"
    case .outOfMemory:
      "no memory to decompress the envelope: give the reader more"
    }
  }
}
