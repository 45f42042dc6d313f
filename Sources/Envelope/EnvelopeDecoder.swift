package import GatewayCore
import JSONScanning

/// What a reader accepts from the outside.
package struct EnvelopeLimits: Sendable, Hashable {
  /// Of the JSON text, decompressed.
  package var byteCountMax: ByteCount = .mebibytes(64)
  /// Whether an envelope that does not account for first...last exactly is refused. An auditor that
  /// wants to see such an envelope says false and calls `verifyAccounting()` itself.
  package var requiresAccounting = true

  package init() {}
}

/// Reads envelopes, compressed or not, from a source that need not be trusted: every input is
/// either decoded or refused with a reason. Keeps its scratch and its zstd context between calls.
/// Not Sendable: one owner at a time.
package struct EnvelopeDecoder: ~Copyable {
  private let limits: EnvelopeLimits
  private var scanner = JSONScanner(pointers: [])
  private var decompressor: ZstdDecompressor?
  private var plain: [UInt8] = []

  package init(limits: EnvelopeLimits = EnvelopeLimits()) {
    self.limits = limits
    decompressor = nil
  }

  /// Decodes one envelope with a decoder of its own; keep a decoder to read many.
  package static func decode(
    _ bytes: Span<UInt8>, limits: EnvelopeLimits = EnvelopeLimits()
  ) throws(EnvelopeError) -> Envelope {
    var decoder = EnvelopeDecoder(limits: limits)
    return try decoder.decode(bytes)
  }

  /// Decodes one envelope.
  package mutating func decode(_ bytes: Span<UInt8>) throws(EnvelopeError) -> Envelope {
    guard ZstdDecompressor.recognises(bytes) else { return try parse(bytes, .none) }
    if decompressor == nil { decompressor = try ZstdDecompressor() }
    var text: [UInt8] = []
    swap(&text, &plain)
    defer { swap(&text, &plain) }
    try decompressor?.decompress(
      bytes, into: &text, byteCountMax: limits.byteCountMax.rawValue)
    return try parse(text.span, .zstd)
  }

  private mutating func parse(
    _ text: Span<UInt8>, _ compression: Compression
  ) throws(EnvelopeError) -> Envelope {
    guard text.count <= limits.byteCountMax.rawValue else {
      throw EnvelopeError(.tooLarge, detail: "\(text.count) bytes")
    }
    // Hazards are no concern here: a payload may bring the nesting or the number of names above
    // what is safe to send on, and EnvelopeParser itself refuses members that come twice.
    if case .invalid(let offset) = scanner.scan(text) {
      throw EnvelopeError(.notJSON, offset: offset)
    }
    var parser = EnvelopeParser()
    let envelope = try parser.parse(text, compression)
    if limits.requiresAccounting { try envelope.verifyAccounting() }
    return envelope
  }
}
