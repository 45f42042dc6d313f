package import Platform

/// How many runs in a row have ended because a disk failed, and committed nothing. The count lies
/// in systemd's runtime directory, which is in memory: the failing disk has no part in it, and a
/// reboot begins anew.
package struct DiskFailures: Sendable {
  private let path: String

  /// - Parameter directory: as systemd gives it in `RUNTIME_DIRECTORY`; of several the first.
  package init?(directory: String?) {
    guard let first = directory?.split(separator: ":").first else { return nil }
    path = "\(first)/disk-failures"
  }

  package var count: Int {
    guard let bytes = try? File.readSmall(path, byteCountMax: 32) else { return 0 }
    let digits = String(decoding: bytes, as: UTF8.self).prefix { $0.isNumber }
    return Int(digits) ?? 0
  }

  /// One more; the first of a new row when the run had committed something.
  package func add(afterCommit hasCommitted: Bool) throws(SystemError) {
    let count = hasCommitted ? 1 : count + 1
    try File.replace(path, with: Array("\(count)\n".utf8), isSynced: false)
  }

  /// The disk was written, or a person stopped the gateway and shall get a fresh attempt.
  package func clear() { try? File.remove(path) }
}
