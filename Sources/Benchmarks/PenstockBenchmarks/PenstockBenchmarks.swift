// The figures of the README, measured as ratios within one run, because absolute times depend on
// the machine and on what else it does. `make bench` runs all; one name runs one:
//
//   ingest        durable ingest against a bare C subscriber of the same broker under the same load
//   filter        a message in the intake without and with limits, filters and aggregates
//   dedup         look-ups and inserts of the deduplication window
//   append        commit groups of 1 MiB against bare pwrite + fdatasync of the same size
//   commit        one small record against a bare pwrite + fdatasync of one block
//   read          reading committed records from the page cache
//   open          opening a full ring of 256 MiB and of 1 GiB against a sequential read of the same
//                 bytes
//   amplification bytes written per byte of payload and topic
//   memory        peak resident memory of the whole agent, while a backlog grows and drains
//   sizing        hours of outage per ring size, and bytes written per day, at low rates
//   bridge        messages a second from end to end, beside a Mosquitto bridge
//   drain         how fast a backlog drains, and its memory, beside a Mosquitto bridge
//   latency       from publisher to consumer at 1,000 messages a second, beside a Mosquitto bridge
//   bytes         bytes on the upstream interface, beside a Mosquitto bridge (root)
//   hub           batches applied to SQLite beside bare prepared inserts of the same rows;
//                 rebuilding the state; emptying the outbox
//   hub-drain     a gateway's backlog applied by the hub, beside the same batches from a queue
//
// `consume-durable` is the child process of `ingest`.

import GatewayCore
import Glibc
import Platform

@main
struct PenstockBenchmarks {
  static func main() {
    _ = signal(SIGPIPE, SIG_IGN)
    let arguments = CommandLine.arguments.dropFirst()
    do {
      switch arguments.first {
      case nil:
        try IngestBenchmark.run()
        try FilterBenchmark.run()
        try DeduplicationBenchmark.run()
        try AppendBenchmark.run()
        try CommitBenchmark.run()
        try ReadBenchmark.run()
        try OpenBenchmark.run()
        try AmplificationBenchmark.run()
        try MemoryBenchmark.run()
        try SizingBenchmark.run()
        try BridgeBenchmark.throughput()
        try BridgeBenchmark.drain()
        try BridgeBenchmark.latency()
        try BridgeBenchmark.bytes()
        try HubBenchmark.run()
        try HubDrainBenchmark.run()
      case "ingest": try IngestBenchmark.run()
      case "filter": try FilterBenchmark.run()
      case "dedup": try DeduplicationBenchmark.run()
      case "append": try AppendBenchmark.run()
      case "commit": try CommitBenchmark.run()
      case "read": try ReadBenchmark.run()
      case "open": try OpenBenchmark.run()
      case "amplification": try AmplificationBenchmark.run()
      case "memory": try MemoryBenchmark.run()
      case "sizing": try SizingBenchmark.run()
      case "bridge": try BridgeBenchmark.throughput()
      case "drain": try BridgeBenchmark.drain()
      case "latency": try BridgeBenchmark.latency()
      case "bytes": try BridgeBenchmark.bytes()
      case "hub": try HubBenchmark.run()
      case "hub-drain": try HubDrainBenchmark.run()
      case "consume-durable": try DurableConsumer.run(Array(arguments.dropFirst()))
      case .some(let name):
        Console.error(
          "no benchmark \(name): ingest, filter, dedup, append, commit, read, open, "
            + "amplification, memory, sizing, bridge, drain, latency, bytes, hub "
            + "or hub-drain")
        exit(64)
      }
    } catch {
      Console.error("\(error)")
      exit(70)
    }
  }
}

struct BenchmarkError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Seconds as a number, for ratios.
func seconds(since start: MonotonicTime) -> Double {
  Double(Clock.monotonic().since(start).nanoseconds) / 1e9
}

extension [Double] {
  /// The value below which this part of the sorted values lies (nearest rank).
  func quantile(_ part: Double) -> Double {
    let sorted = self.sorted()
    return sorted[Swift.min(sorted.count - 1, Int(part * Double(sorted.count)))]
  }
  var median: Double { quantile(0.5) }
}

extension Double {
  /// Two decimals.
  var short: String {
    let hundredths = Int((self * 100).rounded())
    let fraction = hundredths % 100
    return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)"
  }
}

/// What a process has used so far.
struct Usage {
  /// User and system time of all threads, seconds.
  static func processSeconds() -> Double {
    var usage = rusage()
    unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
      + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
  }

  /// Makes VmHWM begin anew (proc(5), clear_refs): the next benchmark has a peak of its own.
  static func resetPeak() throws {
    let file = try File.open("/proc/self/clear_refs", flags: O_WRONLY)
    let isReset = unsafe [UInt8(ascii: "5")].withUnsafeBytes {
      unsafe write(file.raw, $0.baseAddress, 1) == 1
    }
    guard isReset else { throw SystemError("write /proc/self/clear_refs") }
  }

  /// A line of /proc/PID/status in KiB: `VmHWM`, `VmRSS`.
  static func status(_ name: String, of process: String = "self") throws -> Int {
    let bytes = try File.readSmall("/proc/\(process)/status", byteCountMax: 1 << 16)
    for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    where line.hasPrefix(name + ":") {
      return Int(line.split(separator: " ").dropLast().last ?? "") ?? 0
    }
    throw BenchmarkError("no \(name) in /proc/\(process)/status")
  }
}
