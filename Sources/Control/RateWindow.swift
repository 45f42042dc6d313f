package import GatewayCore

/// How fast a route goes, from counters that were read now and then: over the last minute, or since
/// the first reading when that is younger.
package struct RateWindow: Sendable {
  package struct Reading: Sendable, Hashable {
    package var time: MonotonicTime
    package var committed: Sequence
    /// By destination.
    package var acknowledged: [Sequence]
    package var syncs: DurationTotal?
    package var pubackDelays: DurationTotal?

    package init(time: MonotonicTime, committed: Sequence, acknowledged: [Sequence]) {
      self.time = time
      self.committed = committed
      self.acknowledged = acknowledged
    }
  }

  /// Records per second, and means.
  package struct Rates: Sendable, Hashable {
    package var committed: Double
    package var acknowledged: [Double]
    package var syncTime: Duration?
    package var pubackDelay: Duration?
  }

  package static let span: Duration = .seconds(60)
  /// Readings that are kept; one more often than that pushes the oldest out.
  package static let readingsMax = 64
  /// A rate over less says nothing.
  private static let spanMin: Duration = .milliseconds(500)

  private var readings: [Reading] = []

  package init() {}

  package mutating func add(_ reading: Reading) {
    readings.removeAll { reading.time.since($0.time) > Self.span }
    if readings.count == Self.readingsMax { readings.removeFirst() }
    readings.append(reading)
  }

  /// From the oldest reading that is not older than a minute to `now`; nil while that is too short.
  package func rates(to now: Reading) -> Rates? {
    let first = readings.first { now.time.since($0.time) <= Self.span }
    guard let first, now.time.since(first.time) >= Self.spanMin,
      first.acknowledged.count == now.acknowledged.count
    else { return nil }
    let seconds = now.time.since(first.time).seconds
    func rate(_ from: Sequence, _ to: Sequence) -> Double {
      Double(to.count(since: from)) / seconds
    }
    func mean(_ from: DurationTotal?, _ to: DurationTotal?) -> Duration? {
      guard let from, let to else { return nil }
      return to.mean(since: from)
    }
    return Rates(
      committed: rate(first.committed, now.committed),
      acknowledged: zip(first.acknowledged, now.acknowledged).map(rate),
      syncTime: mean(first.syncs, now.syncs),
      pubackDelay: mean(first.pubackDelays, now.pubackDelays))
  }
}

extension RateWindow.Rates {
  /// How long `outstanding` records take at what goes beyond what comes in; nil when unknown or
  /// never.
  package func timeToDrain(_ outstanding: UInt64, sink: Int) -> Duration? {
    let net = acknowledged[sink] - committed
    guard outstanding > 0, net > 0 else { return nil }
    return .bounded(seconds: Double(outstanding) / net)
  }

  /// How long `free` bytes last at `bytesPerRecord`; nil while nothing comes.
  package func timeToFull(_ free: ByteCount, bytesPerRecord: Double?) -> Duration? {
    guard let bytesPerRecord, bytesPerRecord > 0, committed > 0 else { return nil }
    return .bounded(seconds: Double(free.rawValue) / (bytesPerRecord * committed))
  }
}

extension Duration {
  /// At most a thousand years: beyond that a figure says nothing.
  fileprivate static func bounded(seconds: Double) -> Duration {
    .seconds(Int64(min(max(seconds, 0), 31_557_600_000)))
  }
}
