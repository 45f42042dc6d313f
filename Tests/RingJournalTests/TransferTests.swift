// Goal: short and interrupted system calls lose no byte and never loop. Method: the product's own
// loop around calls that fall short as told. Cannot show: which of these a kernel really does.
import Platform
import RingJournal
import Testing

@Suite("Short and interrupted calls")
struct TransferTests {
  private let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0) }

  @Test("a write goes on where the last call ended", arguments: [1, 100, 512, 4096, 9_999])
  func shortWrites(step: Int) throws {
    var taken: [UInt8] = []
    var interruptions = 3
    try Transfer.write(bytes.span) { part, done throws(SystemError) in
      if interruptions > 0 {
        interruptions -= 1
        throw SystemError("pwrite", code: 4)
      }
      #expect(done == taken.count)
      for index in 0..<min(step, part.count) { taken.append(part[index]) }
      return min(step, part.count)
    }
    #expect(taken == bytes)
  }

  @Test("a write that takes nothing is a full disk, other errors pass through")
  func failures() {
    func code(_ result: Result<Int, SystemError>) -> Int32? {
      do throws(SystemError) {
        try Transfer.write(bytes.span) { _, _ throws(SystemError) in try result.get() }
        return nil
      } catch {
        return error.code
      }
    }
    #expect(code(.success(0)) == 28)
    #expect(code(.failure(SystemError("pwrite", code: 5))) == 5)
  }

  @Test("a read goes on until the file ends")
  func shortReads() throws {
    var buffer = [UInt8](repeating: 0, count: 12_000)
    var span = buffer.mutableSpan
    let count = try Transfer.read(into: &span) { part, done throws(SystemError) in
      if done == 512 && part.count % 2 == 1 { throw SystemError("pread", code: 4) }
      let count = min(512, part.count, bytes.count - done)
      for index in 0..<count { part[index] = bytes[done + index] }
      return count
    }
    #expect(count == 10_000)
    #expect(Array(buffer[0..<10_000]) == bytes)
  }
}
