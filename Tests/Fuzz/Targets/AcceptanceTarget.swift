import Envelope
import GatewayCore

/// The input is a message as it comes on an acceptance topic.
///
/// Promises: what is accepted is bounded, its ranges ascend and are sequences, and it reads back
/// the same when it is written anew.
enum AcceptanceTarget {
  static func run(_ input: Span<UInt8>) throws(Violation) -> Bool {
    guard let message = try? AcceptanceMessage.decode(input) else { return false }
    try require(
      message.missing.count <= AcceptanceMessage.missingCountMax, "the ranges are bounded")
    var next = Sequence.first
    for range in message.missing {
      try require(next <= range.first && range.last < Sequence(.max), "the ranges ascend")
      next = range.last.next
    }
    try require(message.through < Sequence(.max), "counting on cannot wrap")
    let again = try? AcceptanceMessage.decode(message.encode().span)
    try require(again == message, "what is written is read back")
    return true
  }

  static func seeds() -> [[UInt8]] {
    let journal = JournalID(high: 0x0011_2233_4455_4677, low: 0x8899_aabb_ccdd_eeff)
    let range = SequenceRange(Sequence(990), Sequence(1040))
    return [[], [range], [range, SequenceRange(Sequence(1200), Sequence(1200))]].map { missing in
      AcceptanceMessage(
        journal: journal, epoch: Epoch(rawValue: 0x9f3c), through: Sequence(1540),
        missing: missing
      ).encode()
    }
  }
}
