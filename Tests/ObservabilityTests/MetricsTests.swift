// Goal: the exposition is exactly what Prometheus expects and what the documents promise.
// Method: golden text, the real promtool, the table in Metrics.md.
// Cannot show: that the stages emit the names; the conservation test of the whole pipeline does.

import CoreMetrics
import GatewayCore
import Platform
import Testing

@testable import Observability

@Suite("metrics")
struct MetricsTests {
  /// The exposition without the families every registry has of its own.
  private func text(_ registry: MetricsRegistry) -> String {
    let all = String(decoding: registry.exposition(), as: UTF8.self)
    return all.split(separator: "\n").filter { line in
      !["process_", "penstock_build_info", "penstock_metrics_refused"].contains {
        line.hasPrefix($0) || line.hasPrefix("# HELP \($0)") || line.hasPrefix("# TYPE \($0)")
      }
    }.map { $0 + "\n" }.joined()
  }

  private func filled() -> MetricsRegistry {
    let registry = MetricsRegistry(version: "1.2.3")
    func route(_ name: String) -> [(String, String)] { [("route", name)] }
    Counter(label: "penstock_ingest_messages_total", dimensions: route("b"), factory: registry)
      .increment(by: 7)
    Counter(label: "penstock_ingest_messages_total", dimensions: route("a"), factory: registry)
      .increment(by: 5)
    Gauge(label: "penstock_ingest_connected", dimensions: route("a"), factory: registry).record(1)
    let fsync = Timer(
      label: "penstock_journal_fsync_seconds", dimensions: route("a"), factory: registry)
    for nanoseconds in [50_000, 100_000, 340_000, 20_000_000_000] as [Int64] {
      fsync.recordNanoseconds(nanoseconds)
    }
    return registry
  }

  @Test("the exposition of a counter, a gauge and a histogram is the documented text")
  func golden() {
    #expect(
      text(filled()) == """
        # HELP penstock_ingest_messages_total Messages received from the source broker, \
        redeliveries included.
        # TYPE penstock_ingest_messages_total counter
        penstock_ingest_messages_total{route="a"} 5
        penstock_ingest_messages_total{route="b"} 7
        # HELP penstock_ingest_connected 1 while connected to the source broker.
        # TYPE penstock_ingest_connected gauge
        penstock_ingest_connected{route="a"} 1
        # HELP penstock_journal_fsync_seconds Duration of one fdatasync.
        # TYPE penstock_journal_fsync_seconds histogram
        penstock_journal_fsync_seconds_bucket{route="a",le="0.0001"} 2
        penstock_journal_fsync_seconds_bucket{route="a",le="0.00025"} 2
        penstock_journal_fsync_seconds_bucket{route="a",le="0.0005"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="0.001"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="0.0025"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="0.005"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="0.01"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="0.025"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="0.05"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="0.1"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="0.25"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="0.5"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="1"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="2.5"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="5"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="10"} 3
        penstock_journal_fsync_seconds_bucket{route="a",le="+Inf"} 4
        penstock_journal_fsync_seconds_sum{route="a"} 20.00049
        penstock_journal_fsync_seconds_count{route="a"} 4

        """)
  }

  private static let promtoolIsAvailable = (try? shell("command -v promtool").code) == 0

  @Test(
    "promtool accepts every metric of the catalogue",
    .enabled(if: promtoolIsAvailable, "promtool is missing (apt-get install prometheus)"))
  func promtool() throws {
    let registry = filled()
    for description in MetricCatalogue.all where !description.name.hasPrefix("process_") {
      let labels = description.labels.map { ($0, "a \"quoted\" \\ and\nbroken é value") }
      switch description.kind {
      case .counter:
        Counter(label: description.name, dimensions: labels, factory: registry).increment()
      case .gauge: Gauge(label: description.name, dimensions: labels, factory: registry).record(0.5)
      case .histogram:
        Recorder(label: description.name, dimensions: labels, aggregate: true, factory: registry)
          .record(3)
      }
    }
    let directory = try TemporaryDirectory()
    let path = directory.path + "/metrics"
    try File.replace(path, with: registry.exposition())
    let (code, output) = try shell("promtool check metrics <'\(path)'")
    #expect(code == 0, "\(output)")
    #expect(output == "")

    // Negative control: promtool does complain where there is reason.
    try File.replace(path, with: Array("penstock_x_total{route=\"a} 1\n".utf8))
    #expect(try shell("promtool check metrics <'\(path)'").code != 0)
  }

  @Test("the table in Metrics.md is the catalogue")
  func documentation() throws {
    let path = root + "/Sources/Observability/Observability.docc/Metrics.md"
    let lines = String(decoding: try File.readSmall(path, byteCountMax: 1 << 20), as: UTF8.self)
      .split(separator: "\n")
    let documented = lines.filter { $0.hasPrefix("| `penstock_") || $0.hasPrefix("| `process_") }
      .filter { $0.split(separator: "|").count == 4 && !$0.contains("==") }
    let expected = MetricCatalogue.all.map {
      let labels = $0.labels.joined(separator: ", ")
      return "| `\($0.name)` | \($0.kind.rawValue) | \(labels) | \($0.help) |"
    }
    #expect(documented.map(String.init) == expected)
  }

  @Test("names are unique, counters end in _total, times and sizes tell their unit")
  func naming() {
    #expect(Set(MetricCatalogue.all.map(\.name)).count == MetricCatalogue.all.count)
    for description in MetricCatalogue.all {
      #expect(description.name.hasSuffix("_total") == (description.kind == .counter))
      #expect(description.buckets.isEmpty == (description.kind != .histogram))
      #expect(PrometheusText.metricName(description.name) == description.name)
    }
  }

  @Test("labels are sorted, escaped, cut at their limit, and never clash with le")
  func labels() {
    let dimensions = [
      ("b", "x\\y\"z\nw"), ("a-1", "é"), ("le", "1"), ("b", "second"), ("9", "nine"),
    ]
    #expect(
      PrometheusText.labels(dimensions, valueByteCountMax: 10)
        == #"_9="nine",a_1="é",b="x\\y\"z\nw",exported_le="1""#)
    #expect(PrometheusText.labels([("a", "éééé")], valueByteCountMax: 5) == "a=\"éé\"")
  }

  @Test("help text escapes backslash and newline")
  func help() {
    #expect(PrometheusText.escapedHelp("a\\b\n\"c\"") == "a\\\\b\\n\"c\"")
  }

  @Test(
    "numbers read back as they were",
    arguments: [
      (0, "0"), (-3, "-3"), (0.1, "0.1"), (1e-9, "1e-09"), (2.5, "2.5"), (1e15, "1000000000000000"),
      (Double.infinity, "+Inf"), (-Double.infinity, "-Inf"), (Double.nan, "NaN"),
    ])
  func numbers(value: Double, text: String) { #expect(PrometheusText.number(value) == text) }

  @Test("a value on a bound counts in that bucket, above all of them only in +Inf")
  func buckets() {
    let series = HistogramSeries(bounds: [1, 2])
    for value in [0.5, 1, 1.0001, 2, 3, .nan] { series.record(value) }
    #expect(series.read() == HistogramSeries.Reading(counts: [2, 2, 1], sum: 7.5001))
  }

  @Test("counters ignore what would make them fall; the same labels in any order are one series")
  func counters() {
    let registry = MetricsRegistry(version: "1")
    let one = Counter(
      label: "x_total", dimensions: [("a", "1"), ("b", "2")], factory: registry)
    let same = Counter(
      label: "x_total", dimensions: [("b", "2"), ("a", "1")], factory: registry)
    one.increment(by: 2)
    same.increment(by: 3)
    one.increment(by: -100)
    FloatingPointCounter(
      label: "x_total", dimensions: [("a", "1"), ("b", "2")], factory: registry
    ).increment(by: 0.5)
    #expect(text(registry).contains("x_total{a=\"1\",b=\"2\"} 5.5\n"))
    same.destroy()
    #expect(!text(registry).contains("x_total"))
  }

  @Test("a meter goes up and down; a gauge shows what it was set to last")
  func gauges() {
    let registry = MetricsRegistry(version: "1")
    let meter = Meter(label: "m", factory: registry)
    meter.set(5)
    meter.increment(by: 2.5)
    meter.decrement(by: 1)
    let age = Gauge(label: "age", factory: registry)
    age.record(41)
    age.record(42)
    #expect(text(registry).contains("m 6.5\n"))
    #expect(text(registry).contains("age 42\n"))
  }

  @Test("series beyond the limit and names of another type work, unseen, and are counted")
  func limits() {
    let registry = MetricsRegistry(version: "1")
    for index in 0..<MetricsRegistry.seriesPerFamilyMax + 10 {
      Counter(label: "x_total", dimensions: [("i", "\(index)")], factory: registry).increment()
    }
    Counter(label: "penstock_journal_fsync_seconds", factory: registry).increment()
    Gauge(label: "x_total", dimensions: [("i", "0")], factory: registry).record(9)
    let all = String(decoding: registry.exposition(), as: UTF8.self)
    #expect(all.contains("penstock_metrics_refused_total 12\n"))
    #expect(
      all.split(separator: "\n").count { $0.hasPrefix("x_total{") }
        == MetricsRegistry.seriesPerFamilyMax)
    #expect(!all.contains("penstock_journal_fsync_seconds"))
  }

  @Test("what carries the labels of something that is gone is not exported any more")
  func forgets() {
    let registry = MetricsRegistry(version: "1")
    for (route, sink) in [("a", "x"), ("a", "y"), ("b", "x"), ("aa", "x")] {
      registry.makeCounter(
        label: "penstock_upstream_reconnects_total",
        dimensions: [("sink", sink), ("route", route)]
      ).increment(by: 1)
    }
    func series() -> [Substring] {
      text(registry).split(separator: "\n").filter {
        $0.hasPrefix("penstock_upstream_reconnects_total")
      }.compactMap { $0.split(separator: " ").first }
    }
    let name = "penstock_upstream_reconnects_total"
    registry.forget([("route", "a"), ("sink", "x")])
    #expect(
      Set(series()) == [
        "\(name){route=\"a\",sink=\"y\"}", "\(name){route=\"aa\",sink=\"x\"}",
        "\(name){route=\"b\",sink=\"x\"}",
      ])
    registry.forget([("route", "a")])
    registry.forget([("route", "b")])
    #expect(series() == ["\(name){route=\"aa\",sink=\"x\"}"])
  }

  @Test("the process shows its memory, CPU and start, whatever its name")
  func processReadings() throws {
    let stat =
      "12 (a b) c) S 1 2 3 4 5 6 7 8 9 10 111 222 0 0 20 0 1 0 333 444 555 18446744073709551615"
    let reading = try #require(ProcessReadings.parse(stat))
    #expect(reading.ticks == 333)
    #expect(reading.pages == 555)
    #expect(ProcessReadings.parse("nonsense") == nil)
    let all = String(
      decoding: MetricsRegistry(version: "1").exposition(), as: UTF8.self)
    #expect(all.contains("process_resident_memory_bytes "))
  }
}
