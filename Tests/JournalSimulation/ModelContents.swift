import GatewayCore
import RingJournal

/// What a reader of one sink finds from its cursor to the end.
package struct ModelContents {
  enum Part {
    case record(UInt64, UInt64)
    case gap(Gap)
  }
  var parts: [Part] = []

  static func read(_ state: JournalState, sink: Int) throws -> ModelContents {
    var reader = try state.makeReader(sink: sink)
    var contents = ModelContents()
    while true {
      let outcome = try reader.read { record, bytes in
        contents.parts.append(
          .record(record.sequence.rawValue, payloadNumber(in: bytes, record.payload)))
        return true
      }
      guard case .gap(let gap) = outcome else { return contents }
      contents.parts.append(.gap(gap))
    }
  }

  /// Every payload says its number, over and over: bytes that do not are nobody's payload.
  package static func payload(_ number: UInt64, byteCount: Int) -> [UInt8] {
    (0..<byteCount).map { UInt8(truncatingIfNeeded: number >> (8 * UInt64($0 % 8))) }
  }

  package static func payloadNumber(in bytes: Span<UInt8>, _ range: Range<Int>) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<min(8, range.count) {
      value |= UInt64(bytes[range.lowerBound + index]) << (8 * UInt64(index))
    }
    for index in 8..<max(8, range.count)
    where bytes[range.lowerBound + index] != bytes[range.lowerBound + index - 8] {
      return .max
    }
    return value
  }
}
