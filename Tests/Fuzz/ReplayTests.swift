// Goal: what the fuzzer once found stays fixed, without libFuzzer. Method: runs the kept corpus and
// the seeds through the same entry points. Cannot show: anything new; that is what `make fuzz` is
// for.

import Platform
import RingJournal
import Testing

@Suite("The fuzz corpus")
struct ReplayTests {
  private static let root: String = {
    var path = #filePath.split(separator: "/").dropLast()
    path.insert("", at: path.startIndex)
    return path.joined(separator: "/")
  }()

  private func corpus(_ target: FuzzTarget) throws -> [(name: String, bytes: [UInt8])] {
    let directory = "\(ReplayTests.root)/Corpus/\(target.rawValue)"
    return try POSIXDisk.shared.entries(ofDirectory: directory).sorted().map {
      ($0, try File.readSmall("\(directory)/\($0)", byteCountMax: 1 << 20))
    }
  }

  @Test("every kept input of a target keeps the target's promises", arguments: FuzzTarget.allCases)
  func replay(target: FuzzTarget) throws {
    let inputs = try corpus(target)
    #expect(inputs.count >= 10, "the corpus of \(target.rawValue) is there")
    var accepted = 0
    for (name, bytes) in inputs {
      do throws(Violation) {
        if try target.run(bytes.span) { accepted += 1 }
      } catch {
        Issue.record("\(target.rawValue)/\(name): \(error)")
      }
    }
    // Inputs that are all refused, or all taken, would test one way through the parser only.
    #expect(accepted > 0 && accepted < inputs.count, "\(accepted) of \(inputs.count) accepted")
  }

  @Test("the seeds get behind the checksums", arguments: FuzzTarget.allCases)
  func seeds(target: FuzzTarget) throws {
    var accepted = 0
    for seed in try target.seeds() where try target.run(seed.span) { accepted += 1 }
    #expect(accepted > 0)
  }

  @Test("a broken promise is noticed: the control of the tests above")
  func control() {
    #expect(throws: Violation.self) { try require(false, "never") }
  }
}
