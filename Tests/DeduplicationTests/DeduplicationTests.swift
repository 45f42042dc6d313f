import GatewayCore

/// SplitMix64: a seeded source, so that a failing test can be run again.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
    return value ^ value >> 31
  }

  mutating func hash() -> MessageIDHash { MessageIDHash(high: next(), low: next()) }
}

extension HashKey {
  /// 00 01 … 0f in memory: the key of the SipHash reference vectors.
  static let reference = HashKey(high: 0x0f0e_0d0c_0b0a_0908, low: 0x0706_0504_0302_0100)
}

func milliseconds(_ count: Int64) -> MonotonicTime { MonotonicTime(nanoseconds: count * 1_000_000) }
