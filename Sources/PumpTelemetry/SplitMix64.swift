/// A small seeded generator (Steele, Lea and Flood, 2014): the same seed gives the same run on
/// every machine. Not for secrets.
package struct SplitMix64: RandomNumberGenerator, Sendable {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  /// A generator for one of many things under one seed: neighbours have nothing in common.
  package init(seed: UInt64, stream: UInt64) {
    var generator = SplitMix64(seed: seed ^ SplitMix64.mix(stream &+ 1))
    state = generator.next()
  }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    return SplitMix64.mix(state)
  }

  /// Uniform in 0 ..< 1, from the upper 53 bits.
  package mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// About normal with mean 0 and deviation 1: the sum of four uniforms, so within ±3.5.
  package mutating func normal() -> Double {
    (unit() + unit() + unit() + unit() - 2) * 1.732_050_807_568_877_2
  }

  private static func mix(_ value: UInt64) -> UInt64 {
    var value = value
    value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
    return value ^ value >> 31
  }
}
