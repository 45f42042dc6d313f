/// What recovery believes of a group, decided from facts alone: no I/O here.
///
/// Every block where a group may begin and every intact header that the scan met is one row of this
/// table. 1 is true, 0 is false, _ is either; exactly one row fits any facts.
///
///     row                    header  lap  body  followed  needed   decision
///     never written            0      _    _       _        _      nothing
///     another lap              1      0    _       _        _      staleLap
///     superseded               1      1    1       _        0      staleCopy
///     intact                   1      1    1       _        1      keep
///     torn tail                1      1    0       0        _      tornTail
///     rotten                   1      1    0       1        1      corrupt
///     harmless                 1      1    0       1        0      staleCopy
///
/// - header: magic, checksum, own offset, journal and lengths are right. The checksum's seed is
///   secret, so such a header was written by this journal's writer and nobody else. A group whose
///   header is destroyed is "never written"; what it held is missing from the sequence, and a hole
///   before what is proven to have been committed is corruption all the same.
/// - lap: the group lies before the end of the newest header's group (or before the head of a
///   superblock that knows of newer ones) and has its lap, or behind it and has the lap before, or
///   is the other copy of the same tail. That refuses the remains of older laps at the end of the
///   region, blocks that a lost or misdirected write left stale, and a write that was torn at the
///   start of the region while a later opening still found room at the end.
/// - body: its checksum is right.
/// - followed: a header or a superblock with a higher group number exists. Each commit is synced
///   before the next write begins, so only the very last write can be torn. That later header
///   counts although its own body may be damaged: when several groups at the end are rotten, all
///   but the last are corrupt.
/// - needed: of an intact group, that no newer one holds its records (a copy of the tail begins at
///   the same sequence). Of a damaged one, that a record which is proven to have been committed
///   (see `CommitEvidence`) is in no other group. Not needed are an older copy of the tail, a write
///   that was torn at an earlier crash, and released groups right behind the head, where the last
///   write may have been torn in the middle of overwriting them.
///
/// After a torn tail the ring goes on behind the newest intact group.
///
/// What nothing can notice: damage to the very last group written, when no superblock was written
/// after it (one is at clean stop, a second after an acknowledgement that no commit carried, every
/// sixteenth of the ring and at each opening): it looks like a write that was cut short, which
/// nobody had been promised. The same holds for several last groups when the damage took the
/// headers of all of them.
struct SpotFacts: OptionSet, Sendable, Hashable {
  let rawValue: UInt8

  static let isHeaderIntact = SpotFacts(rawValue: 1 << 4)
  static let isLapCurrent = SpotFacts(rawValue: 1 << 3)
  static let isBodyIntact = SpotFacts(rawValue: 1 << 2)
  static let isFollowed = SpotFacts(rawValue: 1 << 1)
  static let isNeeded = SpotFacts(rawValue: 1 << 0)

  static let factCount = 5

  /// Adds the fact when it is true.
  func with(_ fact: SpotFacts, _ isTrue: Bool) -> SpotFacts { isTrue ? union(fact) : self }
}

enum SpotDecision: String, Sendable, Equatable, CaseIterable {
  case nothing, staleLap, staleCopy, keep, tornTail, corrupt
}

extension SpotDecision {
  /// The table above, row by row.
  static let table: [DecisionRow<SpotDecision>] = [
    DecisionRow("never written", "0____", .nothing),
    DecisionRow("another lap", "10___", .staleLap),
    DecisionRow("superseded", "111_0", .staleCopy),
    DecisionRow("intact", "111_1", .keep),
    DecisionRow("torn tail", "1100_", .tornTail),
    DecisionRow("rotten", "11011", .corrupt),
    DecisionRow("harmless", "11010", .staleCopy),
  ]

  /// Index of the row that fits.
  static func row(for spot: SpotFacts) -> Int { table.row(for: spot.rawValue) }
}

func decide(_ spot: SpotFacts) -> SpotDecision {
  SpotDecision.table[SpotDecision.row(for: spot)].decision
}
