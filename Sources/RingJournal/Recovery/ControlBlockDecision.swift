/// What the four blocks in front of the data say about the file, decided from facts alone.
///
/// ## Whose file it is
/// Both slots and the two copies begin with the identity. An identity counts when magic, checksum
/// and bounds are right; what fewer of the copies say than others is damage. 1 is true, 0 is false,
/// _ is either; exactly one row fits any facts.
///
///     row                  newer whole split unreadable absent damaged foreign  decision
///     a newer program's      1     _     _       _        _       _       _     newer
///     ours                   0     1     0       _        _       _       _     open
///     two journals in one    0     1     1       _        _       _       _     mixed
///     the disk refuses       0     0     _       1        _       _       _     unreadable
///     cut short              0     0     _       0        1       _       0     cutShort
///     short and foreign      0     0     _       0        1       _       1     foreign
///     destroyed              0     0     _       0        0       1       _     damaged
///     foreign                0     0     _       0        0       0       1     foreign
///     only zeros             0     0     _       0        0       0       0     zeros
///
/// - newer: one copy at least is whole and of a later format: a newer program has begun to rewrite
///   the file, and repairing its copies would destroy its work.
/// - whole: one copy at least is whole. One is enough, the other three are written anew from it.
/// - split: two different identities have the same number of copies.
/// - unreadable: the disk refuses one copy at least. Whatever the others hold, this is a case for
///   another try or another card, not for an empty data directory.
/// - absent: the file ends before one of the copies.
/// - damaged: one copy at least has our magic, but not its checksum.
/// - foreign: one copy at least is neither ours nor zeros.
///
/// Everything but "ours" is refused before a byte is written, each with its own words.
struct IdentityFacts: OptionSet, Sendable, Hashable {
  let rawValue: UInt8

  static let isNewer = IdentityFacts(rawValue: 1 << 6)
  static let isWhole = IdentityFacts(rawValue: 1 << 5)
  static let isSplit = IdentityFacts(rawValue: 1 << 4)
  static let isUnreadable = IdentityFacts(rawValue: 1 << 3)
  static let isAbsent = IdentityFacts(rawValue: 1 << 2)
  static let isDamaged = IdentityFacts(rawValue: 1 << 1)
  static let isForeign = IdentityFacts(rawValue: 1 << 0)

  static let factCount = 7
}

enum IdentityDecision: String, Sendable, Equatable, CaseIterable {
  case newer, open, mixed, unreadable, cutShort, damaged, foreign, zeros
}

extension IdentityDecision {
  /// The table above, row by row.
  static let table: [DecisionRow<IdentityDecision>] = [
    DecisionRow("a newer program's", "1______", .newer),
    DecisionRow("ours", "010____", .open),
    DecisionRow("two journals in one", "011____", .mixed),
    DecisionRow("the disk refuses", "00_1___", .unreadable),
    DecisionRow("cut short", "00_01_0", .cutShort),
    DecisionRow("short and foreign", "00_01_1", .foreign),
    DecisionRow("destroyed", "00_001_", .damaged),
    DecisionRow("foreign", "00_0001", .foreign),
    DecisionRow("only zeros", "00_0000", .zeros),
  ]
}

/// ## Where it stood
/// A slot counts when its identity is the file's and its own checksum, which is seeded with the
/// file's secret, is right. Both may be lost: the whole ring is scanned then, and cursors come from
/// the newest group header.
///
///     row                      A  B  B newer   decision
///     both, A is newer         1  1     0      useA
///     both, B is newer         1  1     1      useB
///     only A                   1  0     _      useA
///     only B                   0  1     _      useB
///     none                     0  0     _      scanAll
///
/// - A, B: the slot holds a whole superblock.
/// - B newer: its generation is the higher one.
///
/// The slot that is not used is written first; what was damaged is written anew at once.
struct SlotFacts: OptionSet, Sendable, Hashable {
  let rawValue: UInt8

  static let isFirstWhole = SlotFacts(rawValue: 1 << 2)
  static let isSecondWhole = SlotFacts(rawValue: 1 << 1)
  static let isSecondNewer = SlotFacts(rawValue: 1 << 0)

  static let factCount = 3
}

enum SlotDecision: String, Sendable, Equatable, CaseIterable {
  case useA, useB, scanAll
}

extension SlotDecision {
  /// The table above, row by row.
  static let table: [DecisionRow<SlotDecision>] = [
    DecisionRow("both, A is newer", "110", .useA),
    DecisionRow("both, B is newer", "111", .useB),
    DecisionRow("only A", "10_", .useA),
    DecisionRow("only B", "01_", .useB),
    DecisionRow("none", "00_", .scanAll),
  ]
}
