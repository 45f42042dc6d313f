// Goal: format 1 stays format 1: these bytes never change. A change here is a new format version.
// Method: fixed values in, hexadecimal out, and back.
import GatewayCore
import Platform
import Testing

@testable import RingJournal

@Suite("Format 1, byte by byte")
struct GoldenTests {
  private let identity = Identity(
    id: JournalID(high: 0x0011_2233_4455_4677, low: 0x8899_aabb_ccdd_eeff),
    checksumSeed: 0xdead_beef, createdAt: WallTime(nanoseconds: 0x0102_0304_0506_0708),
    capacity: 16 << 20, hashKey: HashKey(high: 0x1111_1111_1111_1111, low: 0x2222_2222_2222_2222),
    previous: PreviousJournal(id: JournalID(high: 3, low: 4), lastSequence: Sequence(5)),
    dataStart: 8 << 20, gatewayID: "gw-houston-01", routeName: "telemetry")

  private func hexadecimal(_ bytes: [UInt8], _ range: Range<Int>) -> String {
    Hexadecimal.text(bytes.span.extracting(range))
  }

  @Test("identity")
  func identityBytes() {
    var bytes = [UInt8](repeating: 0xff, count: 512)
    encode(&bytes) { identity.encode(into: &$0) }
    #expect(
      hexadecimal(bytes, 0..<98)
        == """
        504e5354\
        52494e470100\
        0010efbeadde\
        7746554433221100ffeeddccbbaa9988\
        08070605040302010000000100000000\
        11111111111111112222222222222222\
        030000000000000004000000000000000500000000000000\
        00008000000000000d09
        """)
    #expect(hexadecimal(bytes, 98..<111) == Hexadecimal.text(Array("gw-houston-01".utf8).span))
    #expect(hexadecimal(bytes, 162..<171) == Hexadecimal.text(Array("telemetry".utf8).span))
    #expect(bytes[171..<508].allSatisfy { $0 == 0 })
    #expect(hexadecimal(bytes, 508..<512) == "0725c29c")
    let reading = Identity.read(bytes.span)
    #expect(reading == .valid(identity))
  }

  private var superblock: Superblock {
    var block = Superblock(headOffset: 0x0090_0000, highWater: 0x00a0_0000)
    block.generation = 1
    block.epoch = 2
    block.nextSequence = 3
    block.oldestKept = 4
    block.headLap = 5
    block.nextGroupNumber = 6
    block.poweredTime = 7
    block.wallTime = 8
    block.bootID = BootID(high: 9, low: 10)
    block.monotonicTime = 11
    block.sinkTableVersion = 12
    block.filesystemIdentity = 13
    block.lastHeaderChecksum = 14
    block.isCleanStop = true
    block.isClockSynchronised = true
    for place in 0..<6 { block.lost[place] = UInt64(place + 1) }
    block.wear.writtenByteCount = 15
    block.wear.syncCount = 16
    block.wear.recordCount = 17
    block.wear.recordByteCount = 18
    block.losses = LossLedger([SequenceRange(Sequence(19), Sequence(20))])
    block.sinks = [
      Superblock.Sink(
        name: "central", isRequired: true, acknowledged: 0x0102, skippedThrough: 0x0103),
      Superblock.Sink(name: "b", isRequired: false, acknowledged: 1),
    ]
    return block
  }

  @Test("superblock")
  func superblockBytes() {
    var bytes = [UInt8](repeating: 0xff, count: 4096)
    encode(&bytes) { superblock.encode(identity: identity, into: &$0) }
    #expect(
      hexadecimal(bytes, 512..<656)
        == """
        504e535453555052\
        01000000000000000200000000000000\
        03000000000000000400000000000000\
        00009000000000000500000000000000\
        06000000000000000000a00000000000\
        07000000000000000800000000000000\
        09000000000000000a00000000000000\
        0b000000000000000c00000000000000\
        0d000000000000000e0000000102\
        01000000000000000000
        """)
    #expect(
      hexadecimal(bytes, 656..<704)
        == "0701000000000000" + Hexadecimal.text(Array("central".utf8).span)
        + String(repeating: "00", count: 25) + "0201000000000000")
    #expect(hexadecimal(bytes, 832..<841) == "0100000000000000" + "62")
    #expect(hexadecimal(bytes, 2064..<2080) == "03010000000000000000000000000000")
    #expect(
      hexadecimal(bytes, 2128..<2192)
        == "010000000000000002000000000000000300000000000000" + "040000000000000005000000000000"
        + "000600000000000000" + String(repeating: "00", count: 16))
    #expect(
      hexadecimal(bytes, 2192..<2240)
        == "0f000000000000001000000000000000" + "11000000000000001200000000000000"
        + "13000000000000001400000000000000")
    #expect(bytes[2240..<4092].allSatisfy { $0 == 0 })
    #expect(hexadecimal(bytes, 4092..<4096) == "73f62eb3")
    let decoded = Superblock.decode(bytes.span, identity: identity)
    #expect(decoded == superblock)
  }

  private var groupHeader: GroupHeader {
    var header = GroupHeader()
    header.number = 1
    header.lap = 2
    header.offset = 8 << 20
    header.journalLow = identity.id.low
    header.epoch = 3
    header.first = 4
    header.sequenceCount = 1
    header.usedByteCount = 336
    header.previousChecksum = 5
    header.isClockSynchronised = true
    header.sinkCount = 2
    header.sinkTableVersion = 6
    header.acknowledged[0] = 7
    header.acknowledged[1] = 8
    header.sinkNameChecksums[0] = GroupHeader.checksum(ofSinkName: "central")
    header.oldestKept = 9
    header.bootID = BootID(high: 10, low: 11)
    header.monotonicBase = 12
    header.wallBase = 13
    header.poweredBase = 14
    header.committedAt = 15
    return header
  }

  @Test("group header and record")
  func groupBytes() throws {
    var bytes = [UInt8](repeating: 0, count: 256 + 80)
    let record = RecordHeader(
      kind: .deadLetter, reason: .conflict, flags: [.json, .clockSynchronised],
      payloadByteCount: 11, topicByteCount: 7, propertiesByteCount: 4, idText: .stored,
      idTextByteCount: 3, receiveMicroseconds: -2,
      idHash: MessageIDHash(high: 0x0102_0304_0506_0708, low: 0x1112_1314_1516_1718),
      payloadDigest: 0x2122_2324_2526_2728)
    #expect(record.byteCount == 80)
    let text = Array("pumps/1idxprophello world".utf8)
    var header = groupHeader
    encode(&bytes) { span in
      record.encode(into: &span, at: 256)
      span.store(text.span, at: 304)
      header.encode(into: &span, seed: identity.checksumSeed)
    }
    #expect(hexadecimal(bytes, 0..<16) == "504e535447525550" + "0a93b80373c2729b")
    #expect(
      hexadecimal(bytes, 16..<104)
        == """
        01000000000000000200000000000000\
        0000800000000000ffeeddccbbaa9988\
        03000000000000000400000000000000\
        01000000500100000500000001000200\
        0600000000000000\
        07000000000000000800000000000000
        """)
    #expect(bytes[104..<152].allSatisfy { $0 == 0 })
    #expect(
      hexadecimal(bytes, 152..<212)
        == """
        09000000000000000a000000000000000b00000000000000\
        0c000000000000000d00000000000000\
        0e000000000000000f00000000000000\
        514189a3
        """)
    #expect(
      hexadecimal(bytes, 256..<304)
        == "020205000b0000000700040002030000" + "00000000feffffff"
        + "08070605040302011817161514131211" + "2827262524232221")
    #expect(hexadecimal(bytes, 304..<336) == Hexadecimal.text(text.span) + "00000000000000")
    let found = GroupHeader.decode(bytes.span, offset: 8 << 20, identity: identity)
    let decoded = try #require(found)
    let isIntact = decoded.bodyIsIntact(bytes.span, seed: identity.checksumSeed)
    #expect(isIntact)
    #expect(decoded.first == 4 && decoded.last == 4 && decoded.acknowledged[1] == 8)
    let elsewhere = GroupHeader.decode(bytes.span, offset: 9 << 20, identity: identity)
    #expect(elsewhere == nil)
    let parsed = RecordHeader.decode(bytes.span, at: 256, end: 336)
    let again = try #require(parsed)
    #expect(again.idText == .stored && again.receiveMicroseconds == -2)
  }

  @Test("tombstone")
  func tombstoneBytes() {
    var bytes = [UInt8](repeating: 0xff, count: 20)
    let tombstone = Tombstone(reason: .quota, lastReceiveMicroseconds: -2, count: 0x0102)
    encode(&bytes) { tombstone.encode(into: &$0, at: 2) }
    #expect(hexadecimal(bytes, 2..<18) == "02000000feffffff0201000000000000")
    let decoded = Tombstone.decode(bytes.span, 2..<18)
    #expect(decoded == tombstone)
    let short = Tombstone.decode(bytes.span, 2..<17)
    #expect(short == nil)
    bytes[10] = 0
    bytes[11] = 0
    let empty = Tombstone.decode(bytes.span, 2..<18)
    #expect(empty == nil)
  }

  @Test("a record whose lengths do not fit is not read")
  func bounds() {
    var bytes = [UInt8](repeating: 0, count: 128)
    let record = RecordHeader(
      kind: .data, reason: nil, flags: [], payloadByteCount: 80, topicByteCount: 0,
      propertiesByteCount: 0, idText: .payload(offset: 70, count: 10), idTextByteCount: 10,
      receiveMicroseconds: 0, idHash: .absent, payloadDigest: 0)
    encode(&bytes) { record.encode(into: &$0, at: 0) }
    func reads(_ bytes: [UInt8], at offset: Int = 0, end: Int = 128) -> Bool {
      RecordHeader.decode(bytes.span, at: offset, end: end) != nil
    }
    #expect(reads(bytes))
    #expect(!reads(bytes, end: 127))
    #expect(!reads(bytes, end: 129))
    #expect(!reads(bytes, at: 100))
    for (index, value) in [(16, 71), (0, 0), (7, 0xff), (12, 3)] {
      var wrong = bytes
      wrong[index] = UInt8(value)
      #expect(!reads(wrong), "byte \(index)")
    }
  }

  private func encode(_ bytes: inout [UInt8], _ body: (inout MutableSpan<UInt8>) -> Void) {
    var span = bytes.mutableSpan
    body(&span)
  }
}
