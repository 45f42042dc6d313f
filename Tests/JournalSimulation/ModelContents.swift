package import GatewayCore
package import RingJournal

package struct ModelContents {
  package enum Part {
    case record(UInt64, UInt64)
    case gap(Gap)
  }
  package var parts: [Part] = []

  package static func read(_ state: JournalState, sink: Int) throws -> ModelContents {
    var reader = try state.makeReader(sink: sink)
    var contents = ModelContents()
    while true {
      let outcome = try reader.read { record, bytes in
        contents.parts.append(
          .record(record.sequence.rawValue, ModelRun.number(in: bytes, record.payload)))
        return true
      }
      guard case .gap(let gap) = outcome else { return contents }
      contents.parts.append(.gap(gap))
    }
  }
}
