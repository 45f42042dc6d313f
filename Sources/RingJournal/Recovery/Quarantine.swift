import GatewayCore
import Platform

/// Copies unreadable ranges aside before the ring overwrites them, for whoever wants to look. A
/// failure here is a warning: delivering the rest matters more.
enum Quarantine {
  /// All files of the directory together.
  static let byteCountMax = 16 << 20

  /// Returns the number of bytes copied.
  static func copy(
    _ ranges: [CorruptRange], from file: any DiskFile, path: String, name: String,
    disk: any Disk
  ) throws(SystemError) -> Int {
    let directory = File.directoryName(of: path) + "/quarantine"
    try disk.createDirectory(directory)
    var room = byteCountMax
    for existing in try disk.entries(ofDirectory: directory) {
      room -= (try? disk.open(directory + "/" + existing, .readOnly).byteCount()) ?? 0
    }
    var total = 0
    var block = AlignedBuffer(count: Block.byteCount)
    for range in ranges.lazy.flatMap(\.bytes) where room >= range.count {
      let target = "\(directory)/\(name)-\(range.lowerBound).bad"
      // A file of another size is what a start that was cut short has left.
      if disk.exists(target) {
        guard try disk.open(target, .readOnly).byteCount() != range.count else { continue }
        try disk.remove(target)
      }
      let copy = try disk.open(target, .create)
      for offset in stride(from: range.lowerBound, to: range.upperBound, by: Block.byteCount) {
        // Unreadable blocks stay zeros: their place in the copy still tells where they were.
        block.zero(0..<Block.byteCount)
        _ = try? block.withMutableBytes(0..<Block.byteCount) { bytes throws(SystemError) in
          try file.read(into: &bytes, at: offset)
        }
        try block.withBytes(0..<Block.byteCount) { bytes throws(SystemError) in
          try copy.write(bytes, at: offset - range.lowerBound)
        }
        Failpoint.recoveryMidQuarantine.reach()
      }
      try copy.fullSync()
      room -= range.count
      total += range.count
    }
    return total
  }
}
