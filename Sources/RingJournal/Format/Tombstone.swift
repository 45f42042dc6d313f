/// The payload of a record of kind `tombstone`: a run of messages that were refused at admission,
/// acknowledged to the broker because this record is durable, and delivered as a gap.
/// Reserved: format 1 defines it, the admission quota that writes it is later work.
///
///     offset bytes
///        0     1  reason, see `GapReason` (quota)
///        1     7  zero
///        8     8  number of messages refused
///       16     8  receive time of the first, nanoseconds since 1970
///       24     8  receive time of the last
///
/// The record's topic is the source topic. The record takes one sequence, the refused messages
/// none.
enum Tombstone {
  static let byteCount = 32
}
