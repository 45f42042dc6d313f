import GatewayCore

/// A parser of bytes that need not be trusted, and what must hold for every input. The same entry
/// points serve libFuzzer (`make fuzz`) and the replay of the kept corpus (`make test`).
enum FuzzTarget: String, CaseIterable, Sendable {
  /// Identity and superblock: one control block of the journal.
  case superblock
  /// One commit group: header, body, record walk.
  case group
  /// One record's header and lengths.
  case record
  /// A whole journal file: open, read, append, open again.
  case ring
  /// The envelope that the hub reads, plain or compressed.
  case envelope
  /// What a consumer says it has committed.
  case acceptance
  /// A record with its MQTT properties on its way into an envelope and out again.
  case event
  /// JSON payloads: scanner, pointers, reader.
  case json
  /// The message id of a payload.
  case identity
  /// The configuration file.
  case configuration

  /// Runs one input. True: the parser accepted it. Throws when a promise was broken; a trap is a
  /// finding, too.
  func run(_ bytes: Span<UInt8>) throws(Violation) -> Bool {
    switch self {
    case .superblock: try ControlBlockTarget.run(bytes)
    case .group: try GroupTarget.run(bytes)
    case .record: try RecordTarget.run(bytes)
    case .ring: try RingTarget.run(bytes)
    case .envelope: try EnvelopeTarget.run(bytes)
    case .acceptance: try AcceptanceTarget.run(bytes)
    case .event: try EventTarget.run(bytes)
    case .json: try JSONTarget.run(bytes)
    case .identity: try IdentityTarget.run(bytes)
    case .configuration: try ConfigurationTarget.run(bytes)
    }
  }

  /// Where the search begins: good inputs, made by the product itself where it can make them.
  func seeds() throws -> [[UInt8]] {
    switch self {
    case .superblock: ControlBlockTarget.seeds()
    case .group: try GroupTarget.seeds()
    case .record: RecordTarget.seeds()
    case .ring: try RingTarget.seeds()
    case .envelope: EnvelopeTarget.seeds()
    case .acceptance: AcceptanceTarget.seeds()
    case .event: EventTarget.seeds()
    case .json: JSONTarget.seeds()
    case .identity: IdentityTarget.seeds()
    case .configuration: ConfigurationTarget.seeds()
    }
  }
}

/// A promise that an input broke.
struct Violation: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

func require(
  _ condition: Bool, _ promise: @autoclosure () -> String
) throws(Violation) {
  if !condition { throw Violation(promise()) }
}

/// Takes an input apart from its front; beyond the end there are only zeros.
struct InputReader {
  private(set) var offset = 0

  mutating func byte(_ bytes: Span<UInt8>) -> UInt8 {
    guard offset < bytes.count else { return 0 }
    offset += 1
    return bytes[offset - 1]
  }

  mutating func word(_ bytes: Span<UInt8>) -> Int {
    Int(byte(bytes)) | Int(byte(bytes)) << 8
  }

  /// At most `count` bytes.
  mutating func take(_ count: Int, of bytes: Span<UInt8>) -> Range<Int> {
    let start = min(offset, bytes.count)
    offset = min(start + count, bytes.count)
    return start..<offset
  }

  func isAtEnd(of bytes: Span<UInt8>) -> Bool { offset >= bytes.count }
}

func array(_ bytes: Span<UInt8>) -> [UInt8] {
  var copy: [UInt8] = []
  copy.append(bytes)
  return copy
}
