// Goal: the checksum is CRC-32C, the same on every processor.
import CChecksum
import JournalSimulation
import Testing

@Suite("CRC-32C")
struct ChecksumTests {
  private func crc(_ bytes: [UInt8], state: UInt32 = 0) -> UInt32 {
    unsafe penstock_crc32c(state, bytes, bytes.count)
  }

  @Test("RFC 3720, appendix B.4, and the check value of the catalogue")
  func vectors() {
    #expect(crc([UInt8](repeating: 0, count: 32)) == 0x8a91_36aa)
    #expect(crc([UInt8](repeating: 0xff, count: 32)) == 0x62a8_ab43)
    #expect(crc(Array(0..<32)) == 0x46dd_794e)
    #expect(crc(Array((0..<32).reversed())) == 0x113f_db5c)
    let read: [UInt8] = [
      0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 0x04, 0, 0, 0, 0,
      0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0, 0, 0, 0, 0,
    ]
    #expect(crc(read) == 0xd996_3a56)
    #expect(crc(Array("123456789".utf8)) == 0xe306_9283)
    #expect(crc([]) == 0)
  }

  @Test("the processor's instruction and the tables agree at every length and alignment")
  func acceleratedEqualsPortable() {
    var generator = SeededGenerator(seed: 3)
    let bytes = (0..<40_000).map { _ in UInt8.random(in: 0...255, using: &generator) }
    let lengths = Array(0..<70) + [767, 768, 769, 4096, 8191, 12_287, 12_288, 12_289, 30_001]
    for length in lengths {
      for start in 0..<9 {
        let part = Array(bytes[start..<start + length])
        let seed = UInt32.random(in: 0...UInt32.max, using: &generator)
        #expect(
          unsafe penstock_crc32c(seed, part, length)
            == penstock_crc32c_portable(seed, part, length))
      }
    }
  }

  @Test("a checksum continues where the last one ended")
  func continues() {
    let bytes = (0..<20_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    for split in [0, 1, 7, 256, 4096, 13_000] {
      let first = crc(Array(bytes[..<split]))
      #expect(crc(Array(bytes[split...]), state: first) == crc(bytes))
    }
  }
}
