// Goal: the double nearest to a number. Method: against the standard library, which goes the long
// way for every one. Cannot show: that the standard library is right.

import AllocationCounting
import Testing

@testable import JSONScanning

private func value(_ text: String) -> Double? { JSONDouble.value(of: Array(text.utf8).span) }

@Suite struct JSONDoubleTests {
  @Test(
    "numbers of every shape",
    arguments: [
      "0", "-0", "1", "-1", "0.1", "12.75", "1e3", "1E+3", "1e-3", "1.5e22", "1e23", "123456789012",
      "9007199254740992", "9007199254740993", "0.30000000000000004", "4.35", "1e-22", "1e-23",
      "5e-324", "1.7976931348623157e308", "2.2250738585072014e-308", "1e00003", "1e000000003",
      "123456789012345678901234567890", "0.000000000000000000000000000001",
    ])
  func shapes(text: String) throws {
    let parsed = try #require(value(text))
    #expect(parsed == Double(text) && parsed.sign == Double(text)?.sign)
  }

  @Test("what no double holds is nil", arguments: ["1e309", "-1e309", "1e999999999999"])
  func beyond(text: String) { #expect(value(text) == nil) }

  @Test("random numbers, whole, with a point and with a power")
  func random() {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<50_000 {
      var text = Bool.random(using: &generator) ? "-" : ""
      text += "\(UInt64.random(in: 0..<(1 << UInt64.random(in: 1...60)), using: &generator))"
      if Bool.random(using: &generator) {
        text += ".\(UInt32.random(in: 0..<1_000_000, using: &generator))"
      }
      if Bool.random(using: &generator) {
        text += "e\(Int.random(in: -40...40, using: &generator))"
      }
      if value(text) != Double(text) { Issue.record("\(text)") }
    }
  }

  @Test("what devices send allocates nothing")
  func allocations() {
    let numbers = ["12.75", "-0.003", "1013.25", "1795413600123", "1e3"].map { Array($0.utf8) }
    func pass() {
      for index in numbers.indices {
        let number = numbers[index]
        _ = JSONDouble.value(of: number.span)
      }
    }
    // What the runtime makes at the first use of a type is not meant.
    pass()
    let count = AllocationCounter.measure { pass() }
    #expect(count.allocations == 0)
  }
}
