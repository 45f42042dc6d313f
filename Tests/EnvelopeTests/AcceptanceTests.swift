// Goal: an acceptance is read as it was written, and everything that is none is refused with a
// reason. Method: both ways, and a list of what is wrong. The fuzz target goes on from here.

import Envelope
import GatewayCore
import Testing

private let journal = JournalID(high: 0x0011_2233_4455_4677, low: 0x8899_aabb_ccdd_eeff)
private let epoch = Epoch(rawValue: 0x9f3c)

private func decode(_ text: String) throws(AcceptanceError) -> AcceptanceMessage {
  try AcceptanceMessage.decode(Array(text.utf8).span)
}

private func text(
  journal: String = "\"00112233-4455-4677-8899-aabbccddeeff\"",
  epoch: String = "\"0000000000009f3c\"", through: String = "1540", missing: String = "[]"
) -> String {
  "{\"journal\":\(journal),\"epoch\":\(epoch),\"through\":\(through),\"missing\":\(missing)}"
}

@Suite("Envelope: the acceptance")
struct AcceptanceTests {
  @Test("written and read back; the text is the documented one")
  func roundTrip() throws {
    let message = AcceptanceMessage(
      journal: journal, epoch: epoch, through: Sequence(1540),
      missing: [
        SequenceRange(Sequence(990), Sequence(1040)), SequenceRange(Sequence(1200), Sequence(1200)),
      ])
    let bytes = message.encode()
    #expect(
      String(decoding: bytes, as: UTF8.self) == text(missing: "[[990,1040],[1200,1200]]"))
    #expect(try AcceptanceMessage.decode(bytes.span) == message)
    #expect(AcceptanceMessage.topic(ofBatches: "penstock/v1/g/r") == "penstock/v1/g/r/accepted")
  }

  @Test("the largest message that is written can be read")
  func largest() throws {
    let missing = (0..<UInt64(AcceptanceMessage.missingCountMax)).map { index in
      let first = UInt64.max - 1_000 + 3 * index
      return SequenceRange(Sequence(first), Sequence(first + 1))
    }
    let message = AcceptanceMessage(
      journal: journal, epoch: epoch, through: Sequence(.max - 1), missing: missing)
    #expect(message.encode().count < AcceptanceMessage.byteCountMax)
    #expect(try AcceptanceMessage.decode(message.encode().span) == message)
  }

  @Test("members in any order, unknown ones and white space change nothing")
  func lenient() throws {
    let message = try decode(
      " {\"note\":{\"a\":[1]}, \"missing\" : [ [ 2 , 3 ] ], \"through\":0,"
        + "\"epoch\":\"0000000000009f3c\",\"journal\":\"00112233-4455-4677-8899-aabbccddeeff\"} ")
    #expect(message.through == .none)
    #expect(message.missing == [SequenceRange(Sequence(2), Sequence(3))])
  }

  @Test(
    "what is no acceptance is refused",
    arguments: [
      "", "null", "[]", "{}", "{", text() + "x", text(journal: "\"no uuid\""), text(journal: "7"),
      text(epoch: "\"9f3c\""), text(epoch: "\"\\u0030000000000009f3c\""), text(through: "-1"),
      text(through: "1.0"), text(through: "1e3"), text(through: "\"1\""),
      text(through: "18446744073709551615"), text(through: "18446744073709551616"),
      text(missing: "null"), text(missing: "{}"), text(missing: "[1]"), text(missing: "[[1]]"),
      text(missing: "[[1,2,3]]"), text(missing: "[[0,1]]"), text(missing: "[[3,2]]"),
      text(missing: "[[1,5],[5,6]]"), text(missing: "[[7,8],[1,2]]"),
      text(missing: "[[1,18446744073709551615]]"),
      text(missing: "[" + (1...65).map { "[\($0 * 2),\($0 * 2)]" }.joined(separator: ",") + "]"),
      String(text().dropLast()) + ",\"through\":1}",
      "{\"journal\":\"00112233-4455-4677-8899-aabbccddeeff\",\"epoch\":\"0000000000009f3c\"}",
      text() + String(repeating: " ", count: AcceptanceMessage.byteCountMax),
    ])
  func refused(text: String) {
    #expect(throws: AcceptanceError.self) { try decode(text) }
  }
}
