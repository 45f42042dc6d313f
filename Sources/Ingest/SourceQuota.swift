import Deduplication
import Filtering
package import GatewayCore
package import RingJournal

/// How many bytes of the ring each source topic holds that a required sink has not acknowledged,
/// and whether it may have more. Pure accounting: no clock, no I/O, and it need not know how large
/// the ring is.
///
/// ## How it counts
/// Records are entered in order of sequence, each with its bytes and its source. The sequence space
/// is cut into at most `segmentsMax` segments; a segment knows its last sequence and the bytes of
/// each source in it, and gives them all back when the acknowledged sequence passes its last. So a
/// source may be charged for records of one segment that are acknowledged already, never for less
/// than it holds.
///
/// A segment closes when it has its size, or when no other is left before it: while deliveries keep
/// up there are two, as large as the delivery's delay. When all are in use, neighbours are joined
/// two by two and the size doubles: a segment never has more than a 32nd of all that was held then.
///
/// At most `sourcesMax` sources have a place of their own, found by a keyed hash of the topic. What
/// comes beyond shares one place, as if it were one source, until a place is free again.
///
/// ## Memory
/// 2.7 MB, taken at the start. Nothing is allocated after that.
package struct SourceQuota: Sendable {
  package static let sourcesMax = SourcePlaces.capacityDefault
  static let segmentsMax = 64
  /// The size with which segments begin.
  static let segmentByteCountMin = 64 << 10
  /// Bytes are counted in eights, of which a record is a multiple.
  private static let unit = 8

  /// The most that one source may hold.
  package var limit: ByteCount
  /// Messages of sources that had to share a place, since the start.
  package private(set) var sharedCount: UInt64 = 0

  private let hasher: MessageHasher
  private let sourcesMax: Int
  private var places: SourcePlaces
  /// By place, of which the last one is shared.
  private var held: [UInt64]
  /// By segment and place.
  private var cells: [UInt32]
  /// Some sources may hold nothing any more, so that their places could be had.
  private var mayReclaim = false

  private var lastSequences: [64 of UInt64] = .init(repeating: 0)
  /// The oldest segment; the others follow it round the table, the last one is open.
  private var firstSegment = 0
  private var segmentCount = 1
  private var openUnitCount: UInt64 = 0
  private var segmentUnitCount = UInt64(segmentByteCountMin / unit)

  /// - Parameters:
  ///   - limit: without one nothing is refused, until it is set.
  ///   - sourcesMax: fewer only in tests.
  package init(limit: ByteCount = ByteCount(.max), sourcesMax: Int = SourceQuota.sourcesMax) {
    precondition((1...SourceQuota.sourcesMax).contains(sourcesMax), "the table has so many places")
    self.limit = limit
    self.sourcesMax = sourcesMax
    // Of this process alone: nobody can know it, and nothing that is kept depends on it.
    hasher = MessageHasher(key: .random { .random(in: .min ... .max) })
    held = [UInt64](repeating: 0, count: sourcesMax + 1)
    cells = [UInt32](repeating: 0, count: Self.segmentsMax * (sourcesMax + 1))
    places = SourcePlaces(capacity: sourcesMax)
  }

  /// A source that has been looked up. Good until the next look-up.
  package struct Source: Sendable, Equatable {
    fileprivate let place: Int
  }

  /// Sources with a place of their own.
  package var sourceCount: Int { places.count }

  /// The place of a topic, its own or the shared one.
  package mutating func source(_ topic: Span<UInt8>) -> Source {
    let hash = hasher.sourceHash(topic)
    if let found = places.place(of: hash) { return Source(place: found.place) }
    if mayReclaim {
      // The places of sources that hold nothing.
      mayReclaim = false
      let held = self.held
      places.reclaim { held[$0] == 0 }
      if let found = places.place(of: hash) { return Source(place: found.place) }
    }
    sharedCount += 1
    return Source(place: sourcesMax)
  }

  /// What the source holds, as far as it has not been given back.
  package func heldByteCount(_ source: Source) -> ByteCount {
    ByteCount(Int(held[source.place]) * Self.unit)
  }

  /// Whether the source may have another record of so many bytes.
  package func admits(_ source: Source, byteCount: Int) -> Bool {
    let (total, overflow) = heldByteCount(source).rawValue.addingReportingOverflow(byteCount)
    return !overflow && total <= limit.rawValue
  }

  /// Enters a record that the journal has taken.
  ///
  /// - Parameters:
  ///   - byteCount: all that it takes in the ring, header included.
  ///   - sequence: above all that were entered before.
  package mutating func add(_ source: Source, byteCount: Int, sequence: Sequence) {
    let units = (byteCount + Self.unit - 1) / Self.unit
    if openUnitCount > 0, openUnitCount + UInt64(units) > segmentUnitCount { beginSegment() }
    let open = segment(segmentCount - 1)
    cells[cell(open, source.place)] += UInt32(units)
    held[source.place] += UInt64(units)
    openUnitCount += UInt64(units)
    lastSequences[open] = max(lastSequences[open], sequence.rawValue)
  }

  /// Enters a record that was found in the journal when it was opened.
  package mutating func recover(_ record: JournalRecord, _ bytes: Span<UInt8>) {
    if case .tombstone = record.kind { return }
    let source = source(bytes.extracting(record.topic))
    add(source, byteCount: record.byteCount, sequence: record.sequence)
  }

  /// Gives back what is acknowledged by all who must: everything up to and including `sequence`.
  package mutating func release(through sequence: Sequence) {
    while segmentCount > 1, lastSequences[segment(0)] <= sequence.rawValue {
      clear(segment(0))
      firstSegment = segment(1)
      segmentCount -= 1
    }
    guard segmentCount == 1, openUnitCount > 0 else { return }
    segmentUnitCount = UInt64(Self.segmentByteCountMin / Self.unit)
    if lastSequences[segment(0)] <= sequence.rawValue {
      clear(segment(0))
      openUnitCount = 0
    } else {
      beginSegment()
    }
  }

  // MARK: - Segments

  private func segment(_ index: Int) -> Int { (firstSegment + index) % Self.segmentsMax }

  private func cell(_ segment: Int, _ place: Int) -> Int { segment * (sourcesMax + 1) + place }

  private mutating func beginSegment() {
    if segmentCount == Self.segmentsMax { joinPairs() }
    segmentCount += 1
    lastSequences[segment(segmentCount - 1)] = 0
    openUnitCount = 0
  }

  private mutating func joinPairs() {
    let placeCount = sourcesMax + 1
    for index in 0..<Self.segmentsMax / 2 {
      let (left, right, target) = (segment(2 * index), segment(2 * index + 1), segment(index))
      for place in 0..<placeCount {
        let sum = cells[cell(left, place)] + cells[cell(right, place)]
        cells[cell(left, place)] = 0
        cells[cell(right, place)] = 0
        cells[cell(target, place)] = sum
      }
      lastSequences[target] = lastSequences[right]
    }
    segmentCount = Self.segmentsMax / 2
    segmentUnitCount *= 2
  }

  private mutating func clear(_ segment: Int) {
    let start = cell(segment, 0)
    for place in 0...sourcesMax where cells[start + place] != 0 {
      held[place] -= UInt64(cells[start + place])
      cells[start + place] = 0
      if held[place] == 0 { mayReclaim = true }
    }
  }
}

/// The most that one source topic may hold of a ring, as configured.
package enum QuotaSize: Sendable, Hashable {
  /// Of the data region.
  case percent(Int)
  case bytes(ByteCount)

  package func byteCount(dataByteCount: Int) -> ByteCount {
    switch self {
    case .percent(let share): ByteCount(dataByteCount / 100 * share)
    case .bytes(let bytes): bytes
    }
  }
}
