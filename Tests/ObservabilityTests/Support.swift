import GatewayCore
import Glibc
import Platform
import Synchronization

/// A clock that moves only when told to.
final class ManualClock: Sendable {
  private let nanoseconds = Atomic<Int64>(1_000_000_000_000)

  func advance(by duration: Duration) {
    nanoseconds.wrappingAdd(duration.nanoseconds, ordering: .relaxed)
  }

  var monotonic: @Sendable () -> MonotonicTime {
    { MonotonicTime(nanoseconds: self.nanoseconds.load(ordering: .relaxed)) }
  }

  /// 2026-11-23T06:00:00.123Z, whatever the monotonic clock does.
  var wall: @Sendable () -> WallTime {
    { WallTime(nanoseconds: 1_795_413_600_123_000_000) }
  }
}

/// A directory of one's own under the system's temporary one, removed at the end.
struct TemporaryDirectory: ~Copyable {
  let path: String

  init() throws {
    let parent = Environment.value(of: "TMPDIR") ?? "/tmp"
    path = "\(parent)/penstock-observability-\(UInt64.random(in: 0 ... .max))"
    guard unsafe mkdir(path, 0o700) == 0 else { throw SystemError("mkdir \(path)") }
  }

  deinit { _ = unsafe system("rm -rf '\(path)'") }
}

/// Runs a shell command; what it printed on either stream, and its exit code.
func shell(_ command: String) throws -> (code: Int32, output: String) {
  let directory = try TemporaryDirectory()
  let output = directory.path + "/output"
  let status = unsafe system("( \(command) ) >'\(output)' 2>&1")
  let bytes = try File.readSmall(output, byteCountMax: 1 << 20)
  // wait(2): the exit code is the second byte, the first is a signal's number.
  let code = status & 0x7f == 0 ? status >> 8 & 0xff : -1
  return (code, String(decoding: bytes, as: UTF8.self))
}

/// Waits until `condition` holds, for at most `limit`; whether it did.
func eventually(
  within limit: Duration = .seconds(10), _ condition: @Sendable () -> Bool
) async -> Bool {
  let deadline = Clock.monotonic() + limit
  while Clock.monotonic() < deadline {
    if condition() { return true }
    await Task.yield()
  }
  return condition()
}

let root = String(#filePath.prefix(upTo: #filePath.range(of: "/Tests/")))

extension String {
  /// Where `text` first begins; the end when it does not occur.
  fileprivate func range(of text: String) -> Index {
    var index = startIndex
    while index < endIndex {
      if self[index...].hasPrefix(text) { return index }
      index = self.index(after: index)
    }
    return endIndex
  }
}

final class Counted: Sendable {
  private let value = Atomic<Int>(0)
  func add() { value.wrappingAdd(1, ordering: .relaxed) }
  var count: Int { value.load(ordering: .relaxed) }
}
