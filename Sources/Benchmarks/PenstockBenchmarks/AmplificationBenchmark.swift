import GatewayCore
import Glibc
import Platform
import RingJournal

/// Bytes written to the disk for each byte of payload and topic, at 100 records per group while all
/// is delivered: as the commits report it, as the journal counts it, and as the block device does
/// (sectors written, Linux, Documentation/block/stat.rst: of all processes, so only on a quiet
/// machine is it ours alone). `write_bytes` of /proc/self/io would not do: it counts whole folios
/// of the page cache, up to a megabyte for each commit, of which ext4 writes the dirty blocks.
enum AmplificationBenchmark {
  private static let groups = 1000
  private static let recordsPerGroup = 100

  static func run() throws {
    for (payload, limit) in [(200, "1.5"), (2048, "1.15")] {
      let directory = try TemporaryDirectory(prefix: "penstock-bench")
      var bench = try JournalBench(
        in: directory, capacity: .mebibytes(64), payloadByteCount: payload)
      let before = bench.state.statistics().wear.writtenByteCount
      let deviceBefore = deviceByteCount(bench.path)
      var committed = 0
      for _ in 0..<groups {
        for _ in 0..<recordsPerGroup {
          guard case .appended = try bench.append() else {
            throw BenchmarkError("a group of 100 records did not fit")
          }
        }
        committed += try bench.commit()
      }
      let counted = Int(bench.state.statistics().wear.writtenByteCount - before)
      let device = deviceByteCount(bench.path).flatMap { end in deviceBefore.map { end - $0 } }
      let carried = Double(groups * recordsPerGroup * bench.carriedByteCount)
      try bench.close()
      Console.line(
        "amplification: \(payload)-byte payloads, \(JournalBench.topic.count)-byte topics, "
          + "\(recordsPerGroup) records per group: \((Double(counted) / carried).short) bytes "
          + "written per byte (wanted ≤ \(limit)); groups alone "
          + "\((Double(committed) / carried).short), by the device's count "
          + (device.map { (Double($0) / carried).short } ?? "not known"))
    }
  }

  /// What the device below the file has written so far; nil where it cannot be told.
  private static func deviceByteCount(_ path: String) -> Int? {
    var facts = stat()
    guard unsafe stat(path, &facts) == 0 else { return nil }
    let device = UInt64(facts.st_dev)
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00)
    let name = "/sys/dev/block/\(major):\(minor)/stat"
    guard let bytes = try? File.readSmall(name, byteCountMax: 1 << 12) else { return nil }
    let fields = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace)
    return fields.count > 6 ? Int(fields[6]).map { $0 * 512 } : nil
  }
}
