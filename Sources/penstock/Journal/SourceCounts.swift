import GatewayCore
import RingJournal

/// Records and bytes by source topic, in bounded memory.
struct SourceCounts {
  struct Count {
    var topic: [UInt8]
    var records: UInt64 = 0
    /// Topic and payload bytes.
    var bytes: UInt64 = 0
    /// Of these, messages refused at admission.
    var refused: UInt64 = 0
  }

  /// Sources that are counted one by one; those met later are one together.
  static let countMax = 10_000

  private var places: [[UInt8]: Int] = [:]
  private(set) var counts: [Count] = []
  private(set) var others = Count(topic: [])

  mutating func count(_ record: JournalRecord, _ bytes: Span<UInt8>) {
    var topic: [UInt8] = []
    topic.append(bytes.extracting(record.topic))
    guard let place = place(of: topic) else { return SourceCounts.add(record, to: &others) }
    SourceCounts.add(record, to: &counts[place])
  }

  /// The largest first.
  var ranked: [Count] {
    counts.sorted {
      ($1.records, $0.topic.span.text) < ($0.records, $1.topic.span.text)
    }
  }

  private mutating func place(of topic: [UInt8]) -> Int? {
    if let place = places[topic] { return place }
    guard counts.count < SourceCounts.countMax else { return nil }
    counts.append(Count(topic: topic))
    places[topic] = counts.count - 1
    return counts.count - 1
  }

  private static func add(_ record: JournalRecord, to count: inout Count) {
    if record.kind == .tombstone {
      count.refused += record.sequences.count
    } else {
      count.records += 1
      count.bytes += UInt64(record.topic.count + record.payload.count)
    }
  }
}

extension Span where Element == UInt8 {
  fileprivate var text: String { String(decoding: self) }
}
