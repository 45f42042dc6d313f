// Goal: once buffers have grown, encoding allocates nothing, per event or per envelope. Method: the
// allocation counter around the second and later envelopes of a kind. Cannot show: payloads that
// are not JSON, because the testing library boxes every error thrown, the scanner's typed one
// included.

import AllocationCounting
import Envelope
import GatewayCore
import Testing

@Suite("Envelope: allocations")
struct EnvelopeAllocationTests {
  @Test("encoding and compressing envelopes allocates nothing after the first")
  func encoder() {
    var encoder = EnvelopeEncoder.sample()
    var hazardous = Sample()
    hazardous.flags.remove(.json)
    hazardous.id = []
    hazardous.payload = Array(#"{"a":1,"a":2}"#.utf8)
    var rich = Sample()
    (rich.kind, rich.reason) = (.deadLetter, .conflict)
    rich.properties = wire(contentType: "a/b+json", user: [("A-Name", "v"), ("aname", "w")])
    let samples = [Sample(), hazardous, rich]
    var message: [UInt8] = []
    func envelope(_ compression: Compression) {
      encoder.begin(journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch, first: .first)
      for index in 0..<100 { encoder.append(samples[index % 3], UInt64(index) + 1) }
      encoder.appendGap(Gap(SequenceRange(Sequence(101), Sequence(110)), .deadLetterFull))
      for number in 111..<121 {
        let sequence = Sequence(UInt64(number))
        encoder.appendElided(SequenceRange(sequence, sequence))
      }
      encoder.finish(last: Sequence(120), compression: compression, into: &message)
    }
    for compression in Compression.allCases {
      // Twice: the message itself must have grown to the larger of both kinds.
      for _ in 0..<2 { envelope(compression) }
      let count = AllocationCounter.measure { for _ in 0..<5 { envelope(compression) } }
      #expect(count.allocations == 0, "\(compression)")
    }
  }

  @Test("the properties of raw records allocate nothing after the first")
  func rawProperties() {
    var raw = RawProperties()
    var properties: [UInt8] = []
    let kept = wire(user: [("k", "v"), ("penstock-id", "old")])
    let noID: [UInt8] = []
    func record() {
      properties.removeAll(keepingCapacity: true)
      raw.append(
        id: noID.span, journal: EnvelopeEncoder.journal, epoch: EnvelopeEncoder.epoch,
        sequence: .first, received: (WallTime(nanoseconds: 0), .corrected), kept: kept.span,
        dwell: .zero, to: &properties)
    }
    record()
    let count = AllocationCounter.measure { for _ in 0..<5 { record() } }
    #expect(count.allocations == 0)
  }

  @Test("the counter counts: the control of the tests above")
  func control() {
    var arrays: [[UInt8]] = []
    arrays.reserveCapacity(10)
    let count = AllocationCounter.measure {
      for number in 0..<10 { arrays.append([UInt8](repeating: UInt8(number), count: 100)) }
    }
    #expect(count.allocations >= 10)
  }
}
