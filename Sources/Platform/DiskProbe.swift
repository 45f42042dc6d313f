import CLinux
import GatewayCore
import Glibc

/// How long a small durable write takes on the filesystem of a directory.
package enum DiskProbe {
  private static let blockByteCount = 4096

  /// Writes and syncs one block, `count` times over, in a file without a name, of which nothing
  /// stays. The durations in ascending order.
  /// - Throws: EOPNOTSUPP or EISDIR where the filesystem has no such files.
  package static func syncTimes(in directory: String, count: Int) throws(SystemError) -> [Duration]
  {
    let file = try File.open(directory, flags: penstock_o_tmpfile | O_RDWR, mode: 0o600)
    let zeros = [UInt8](repeating: 0, count: blockByteCount)
    var times: [Duration] = []
    // The first one allocates the block, which a journal's writes do not.
    for turn in 0...max(1, count) {
      let start = Clock.monotonic()
      let written = unsafe pwrite(file.raw, zeros, zeros.count, 0)
      guard written == zeros.count else { throw SystemError("write in \(directory)") }
      guard fdatasync(file.raw) == 0 else { throw SystemError("fdatasync in \(directory)") }
      if turn > 0 { times.append(Clock.monotonic().since(start)) }
    }
    return times.sorted()
  }
}
