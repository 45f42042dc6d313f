import GatewayCore
import Glibc
import Platform

/// The three numbers every Prometheus dashboard expects of a process, read at the scrape from
/// /proc/self/stat (proc(5)). Absent where /proc is not mounted.
struct ProcessReadings: Sendable {
  let startedAt: WallTime

  func families() -> [MetricsRegistry.Family] {
    var values: [(name: String, value: Double)] = [
      ("process_start_time_seconds", Double(startedAt.nanoseconds / 1_000_000) / 1e3)
    ]
    if let stat = try? File.readSmall("/proc/self/stat", byteCountMax: 4096),
      let reading = Self.parse(String(decoding: stat, as: UTF8.self))
    {
      values.append(
        ("process_cpu_seconds_total", reading.ticks / Double(max(sysconf(Int32(_SC_CLK_TCK)), 1))))
      values.append(
        ("process_resident_memory_bytes", reading.pages * Double(sysconf(Int32(_SC_PAGESIZE)))))
    }
    return values.compactMap { name, value in
      guard let description = MetricCatalogue.description(of: name) else { return nil }
      let instrument: MetricsRegistry.Instrument
      if description.kind == .counter {
        let series = CounterSeries()
        series.increment(by: value)
        instrument = .counter(series)
      } else {
        let series = GaugeSeries()
        series.set(value)
        instrument = .gauge(series)
      }
      return MetricsRegistry.Family(description: description, series: ["": instrument])
    }
  }

  /// CPU ticks (fields 14 and 15) and resident pages (field 24). The second field is the program's
  /// name in parentheses and may itself hold spaces and parentheses.
  static func parse(_ stat: String) -> (ticks: Double, pages: Double)? {
    guard let end = stat.lastIndex(of: ")") else { return nil }
    let fields = stat[end...].dropFirst().split(separator: " ")
    guard fields.count > 21, let user = Double(fields[11]), let system = Double(fields[12]),
      let pages = Double(fields[21])
    else { return nil }
    return (user + system, pages)
  }
}
