import CoreMetrics
import Synchronization

// The three instruments behind swift-metrics' five. Counters and gauges are one atomic; a histogram
// takes a short lock, because its buckets, sum and count must agree in one scrape. Stages record
// once per commit or batch, not per message. No call here allocates.

/// Only goes up. Serves `Counter` and `FloatingPointCounter`.
final class CounterSeries: CounterHandler, FloatingPointCounterHandler {
  private let whole = Atomic<Int64>(0)
  private let fractional = AtomicDouble()

  /// Negative amounts are ignored: a counter that falls looks like a restart to Prometheus.
  func increment(by amount: Int64) {
    if amount > 0 { whole.wrappingAdd(amount, ordering: .relaxed) }
  }

  func increment(by amount: Double) {
    if amount.isFinite, amount > 0 { fractional.add(amount) }
  }

  func reset() {
    whole.store(0, ordering: .relaxed)
    fractional.store(0)
  }

  var value: Double { Double(whole.load(ordering: .relaxed)) + fractional.load() }
}

/// The last value. Serves `Gauge` (a `Recorder` that does not aggregate) and `Meter`.
final class GaugeSeries: RecorderHandler, MeterHandler {
  private let current = AtomicDouble()

  func record(_ value: Int64) { current.store(Double(value)) }
  func record(_ value: Double) { current.store(value) }
  func set(_ value: Int64) { current.store(Double(value)) }
  func set(_ value: Double) { current.store(value) }
  func increment(by amount: Double) { current.add(amount) }
  func decrement(by amount: Double) { current.add(-amount) }

  var value: Double { current.load() }
}

/// Counts per bucket. Serves `Timer` (in seconds) and the aggregating `Recorder`.
final class HistogramSeries: RecorderHandler, TimerHandler {
  struct Reading: Equatable {
    /// One more than there are bounds: the last counts what is above all of them.
    var counts: [UInt64]
    var sum: Double
  }

  let bounds: [Double]
  private let reading: Mutex<Reading>

  init(bounds: [Double]) {
    precondition(
      zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 }, "bucket bounds ascend strictly")
    self.bounds = bounds
    reading = Mutex(Reading(counts: Array(repeating: 0, count: bounds.count + 1), sum: 0))
  }

  func record(_ value: Int64) { record(Double(value)) }

  /// A value equal to a bound belongs to that bucket (`le`). NaN would spoil the sum: ignored.
  func record(_ value: Double) {
    guard !value.isNaN else { return }
    var bucket = 0
    while bucket < bounds.count, value > bounds[bucket] { bucket += 1 }
    reading.withLock {
      $0.counts[bucket] += 1
      $0.sum += value
    }
  }

  func recordNanoseconds(_ duration: Int64) { record(Double(duration) / 1e9) }

  func read() -> Reading { reading.withLock { $0 } }
}

/// A Double in one atomic word.
private struct AtomicDouble: ~Copyable {
  private let bits = Atomic<UInt64>(0)

  func load() -> Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
  func store(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }

  func add(_ amount: Double) {
    var old = bits.load(ordering: .relaxed)
    while true {
      let new = (Double(bitPattern: old) + amount).bitPattern
      let (exchanged, original) = bits.weakCompareExchange(
        expected: old, desired: new, ordering: .relaxed)
      if exchanged { return }
      old = original
    }
  }
}
