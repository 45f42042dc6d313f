// Goal: a set of intervals is a set. Method: against a plain set of numbers, at random.

import GatewayCore
import Hub
import PumpTelemetry
import Testing

@Suite("interval set") struct IntervalSetTests {
  private func range(_ first: Int, _ last: Int) -> SequenceRange {
    SequenceRange(Sequence(UInt64(first)), Sequence(UInt64(last)))
  }

  @Test(
    "behaves like a plain set, whatever is put in and taken out",
    arguments: 1...20 as ClosedRange<UInt64>)
  func model(seed: UInt64) {
    var generator = SplitMix64(seed: seed, stream: 0)
    var (set, model) = (IntervalSet(), Set<UInt64>())
    for _ in 0..<300 {
      let first = UInt64.random(in: 1...60, using: &generator)
      let range = SequenceRange(
        Sequence(first), Sequence(first + UInt64.random(in: 0...8, using: &generator)))
      let numbers = Set(range.first.rawValue...range.last.rawValue)
      #expect(set.intersects(range) == !model.isDisjoint(with: numbers))
      #expect(
        set.intersection(range).flatMap { Array($0.first.rawValue...$0.last.rawValue) }
          == model.intersection(numbers).sorted())
      #expect(
        set.missing(in: range).flatMap { Array($0.first.rawValue...$0.last.rawValue) }
          == numbers.subtracting(model).sorted())
      if Bool.random(using: &generator) {
        set.insert(range)
        model.formUnion(numbers)
      } else {
        set.remove(range)
        model.subtract(numbers)
      }
      #expect(set.count == UInt64(model.count))
      #expect((1...70).allSatisfy { set.contains(Sequence($0)) == model.contains($0) })
      #expect(IntervalSet(text: set.text) == set)
      for (left, right) in zip(set.ranges, set.ranges.dropFirst()) {
        #expect(left.last.next < right.first)
      }
    }
  }

  @Test("holes and the contiguous run")
  func holes() {
    var set = IntervalSet([range(3, 5), range(8, 8)])
    #expect(set.holes == [range(1, 2), range(6, 7)])
    #expect(set.contiguous == .none)
    set.insert(range(1, 2))
    #expect(set.contiguous == Sequence(5))
  }

  @Test(
    "a text that it never wrote is refused",
    arguments: ["0-3", "5-3", "1-2,2-4", "x", "3,1", "1-2-3"])
  func badText(text: String) { #expect(IntervalSet(text: text) == nil) }
}
