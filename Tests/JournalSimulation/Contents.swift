package import GatewayCore
package import RingJournal

/// What a reader finds from its position to the end.
package struct Contents: Equatable {
  package var payloads: [UInt64: [UInt8]] = [:]
  package var sequences: [UInt64] = []
  package var gaps: [Gap] = []

  package static func read(_ state: JournalState, sink: Int = 0, from: Sequence? = nil) throws
    -> Contents
  {
    var reader = try state.makeReader(sink: sink)
    if let from { reader.seek(to: from) }
    return try read(&reader)
  }

  package static func read(_ reader: inout JournalReader) throws -> Contents {
    var contents = Contents()
    while true {
      let outcome = try reader.read { record, bytes in
        contents.sequences.append(record.sequence.rawValue)
        contents.payloads[record.sequence.rawValue] = copy(bytes, record.payload)
        return true
      }
      switch outcome {
      case .caughtUp: return contents
      case .stopped: return contents
      case .gap(let gap): contents.gaps.append(gap)
      }
    }
  }
}

package func copy(_ bytes: Span<UInt8>, _ range: Range<Int>) -> [UInt8] {
  var result: [UInt8] = []
  result.append(bytes.extracting(range))
  return result
}
