package import CoreMetrics
import GatewayCore
import Platform
import Synchronization

/// The swift-metrics backend. Make one, bootstrap `MetricsSystem` with it, serve `exposition()`.
///
/// - Names of the catalogue get its help, type and buckets. Other names are exported too, with a
///   generic help text, so that a library's metrics are not lost.
/// - Bounded: `familiesMax` names, `seriesPerFamilyMax` label combinations each. What goes beyond,
///   or uses a name with another type than the catalogue's, works but is not exported, and is
///   counted in `penstock_metrics_refused_total`.
/// - Making an instrument takes a lock: keep it, do not make one per message. Recording is an
///   atomic, a histogram a short lock.
///
/// Any thread.
package final class MetricsRegistry: MetricsFactory {
  package static let familiesMax = 256
  /// Gap reasons of the most sinks that a configuration can have, rounded up.
  package static let seriesPerFamilyMax = 2048
  package static let labelValueByteCountMax = 256

  enum Instrument {
    case counter(CounterSeries)
    case gauge(GaugeSeries)
    case histogram(HistogramSeries)

    var identity: ObjectIdentifier {
      switch self {
      case .counter(let series): ObjectIdentifier(series)
      case .gauge(let series): ObjectIdentifier(series)
      case .histogram(let series): ObjectIdentifier(series)
      }
    }
  }

  struct Family {
    let description: MetricDescription
    /// By rendered labels (`route="a",sink="b"`), so that the order of dimensions does not matter.
    var series: [String: Instrument] = [:]
  }

  private struct State {
    var families: [String: Family] = [:]
  }

  private let state = Mutex(State())
  private let refused = CounterSeries()
  private let process: ProcessReadings

  /// `version` becomes the label of `penstock_build_info`.
  package init(version: String) {
    process = ProcessReadings(startedAt: Clock.wall())
    gauge("penstock_build_info", [("version", version)]).set(1.0)
    state.withLock {
      let description = MetricsRegistry.describe("penstock_metrics_refused_total", as: .counter)
      $0.families[description.name] = Family(
        description: description, series: ["": .counter(refused)])
    }
  }

  /// Everything, in the Prometheus text format 0.0.4: families in catalogue order, then the
  /// undocumented ones by name; series by their labels.
  package func exposition() -> [UInt8] {
    var families = state.withLock { Array($0.families.values) }
    families.append(contentsOf: process.families())
    families.sort {
      let left = MetricCatalogue.position(of: $0.description.name)
      let right = MetricCatalogue.position(of: $1.description.name)
      return left == right ? $0.description.name < $1.description.name : left < right
    }
    var text = PrometheusText()
    for family in families where !family.series.isEmpty { text.append(family) }
    return text.bytes
  }

  /// The value of a counter or gauge now; nil when nobody has made it. Labels in any order.
  package func value(of name: String, _ labels: [(String, String)]) -> Double? {
    switch existing(name, labels) {
    case .counter(let series): series.value
    case .gauge(let series): series.value
    case .histogram, nil: nil
    }
  }

  /// How much a histogram has been told, and the sum of that; nil when nobody has made it.
  package func total(
    of name: String, _ labels: [(String, String)]
  ) -> (count: UInt64, sum: Double)? {
    guard case .histogram(let series) = existing(name, labels) else { return nil }
    let reading = series.read()
    return (reading.counts.reduce(0, +), reading.sum)
  }

  private func existing(_ name: String, _ labels: [(String, String)]) -> Instrument? {
    let labels = PrometheusText.labels(labels, valueByteCountMax: Self.labelValueByteCountMax)
    return state.withLock { $0.families[name]?.series[labels] }
  }

  // MARK: MetricsFactory

  package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
    counter(label, dimensions)
  }

  package func makeFloatingPointCounter(
    label: String, dimensions: [(String, String)]
  ) -> any FloatingPointCounterHandler { counter(label, dimensions) }

  package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
    gauge(label, dimensions)
  }

  package func makeRecorder(
    label: String, dimensions: [(String, String)], aggregate: Bool
  ) -> any RecorderHandler {
    aggregate ? histogram(label, dimensions) : gauge(label, dimensions)
  }

  package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
    histogram(label, dimensions)
  }

  // Destroying an instrument ends its series: a removed sink must not be exported for ever. Whoever
  // still holds it may go on recording, unseen.
  package func destroyCounter(_ handler: any CounterHandler) { remove(handler) }
  package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {
    remove(handler)
  }
  package func destroyMeter(_ handler: any MeterHandler) { remove(handler) }
  package func destroyRecorder(_ handler: any RecorderHandler) { remove(handler) }
  package func destroyTimer(_ handler: any TimerHandler) { remove(handler) }

  /// Ends all series that carry these labels: what is gone must not be exported for ever.
  package func forget(_ labels: [(String, String)]) {
    let wanted = labels.map {
      "," + PrometheusText.labels([$0], valueByteCountMax: Self.labelValueByteCountMax) + ","
    }
    state.withLock { state in
      for (name, family) in state.families {
        state.families[name]?.series = family.series.filter { labels, _ in
          let labels = "," + labels + ","
          return !wanted.allSatisfy { labels.contains($0) }
        }
      }
    }
  }

  private func remove(_ handler: any AnyObject) {
    let identity = ObjectIdentifier(handler)
    state.withLock { state in
      for (name, family) in state.families {
        for (labels, instrument) in family.series where instrument.identity == identity {
          state.families[name]?.series[labels] = nil
          return
        }
      }
    }
  }

  // MARK: Making series

  private func counter(_ label: String, _ dimensions: [(String, String)]) -> CounterSeries {
    guard
      case .counter(let series) = instrument(
        label, dimensions, kind: .counter, make: { _ in .counter(CounterSeries()) })
    else { return CounterSeries() }
    return series
  }

  private func gauge(_ label: String, _ dimensions: [(String, String)]) -> GaugeSeries {
    guard
      case .gauge(let series) = instrument(
        label, dimensions, kind: .gauge, make: { _ in .gauge(GaugeSeries()) })
    else { return GaugeSeries() }
    return series
  }

  private func histogram(_ label: String, _ dimensions: [(String, String)]) -> HistogramSeries {
    guard
      case .histogram(let series) = instrument(
        label, dimensions, kind: .histogram,
        make: { .histogram(HistogramSeries(bounds: $0.buckets)) })
    else { return HistogramSeries(bounds: []) }
    return series
  }

  /// The series of that name and those labels, made when it is new; nil (and counted) when the
  /// registry cannot export it.
  private func instrument(
    _ label: String, _ dimensions: [(String, String)], kind: MetricDescription.Kind,
    make: (MetricDescription) -> Instrument
  ) -> Instrument? {
    let name = PrometheusText.metricName(label)
    let labels = PrometheusText.labels(dimensions, valueByteCountMax: Self.labelValueByteCountMax)
    let found: Instrument? = state.withLock { state in
      if let existing = state.families[name]?.series[labels] { return existing }
      var family: Family
      if let existing = state.families[name] {
        family = existing
      } else {
        guard state.families.count < Self.familiesMax else { return nil }
        family = Family(description: Self.describe(name, as: kind))
      }
      guard family.description.kind == kind, family.series.count < Self.seriesPerFamilyMax
      else { return nil }
      let instrument = make(family.description)
      family.series[labels] = instrument
      state.families[name] = family
      return instrument
    }
    guard let found, found.kind == kind else {
      refused.increment(by: 1 as Int64)
      return nil
    }
    return found
  }

  private static func describe(
    _ name: String, as kind: MetricDescription.Kind
  ) -> MetricDescription {
    MetricCatalogue.description(of: name)
      ?? MetricDescription(
        name: name, kind: kind, labels: [], help: "Not described in the catalogue.",
        buckets: kind == .histogram ? MetricCatalogue.diskBuckets : [])
  }
}

extension MetricsRegistry.Instrument {
  var kind: MetricDescription.Kind {
    switch self {
    case .counter: .counter
    case .gauge: .gauge
    case .histogram: .histogram
    }
  }
}
