package import GatewayCore
import Glibc
import Platform
import Synchronization

/// Writes whole lines to a descriptor, one at a time, at most `linesPerSecondMax`: a storm of equal
/// errors must not fill the gateway's flash. What was left out is counted in a line of its own.
///
/// Any thread. Blocks while the descriptor blocks; errors are ignored, there is nobody to tell.
package final class LogOutput: Sendable {
  package static let linesPerSecondMax = 500

  private struct Window {
    var second: Int64 = .min
    var lineCount = 0
    var suppressedCount: UInt64 = 0
  }

  private let descriptor: Int32
  private let monotonic: @Sendable () -> MonotonicTime
  private let window = Mutex(Window())

  /// `descriptor` is borrowed and must stay open as long as this lives.
  package init(
    descriptor: Int32, monotonic: @escaping @Sendable () -> MonotonicTime = { Clock.monotonic() }
  ) {
    self.descriptor = descriptor
    self.monotonic = monotonic
  }

  /// `line` ends with a newline. `suppressed` makes the line that tells how many were left out.
  func write(_ line: [UInt8], suppressed: (UInt64) -> [UInt8]) {
    let second = monotonic().nanoseconds / 1_000_000_000
    window.withLock { window in
      if window.second != second {
        if window.suppressedCount > 0 { put(suppressed(window.suppressedCount)) }
        window = Window(second: second)
      }
      guard window.lineCount < Self.linesPerSecondMax else {
        window.suppressedCount += 1
        return
      }
      window.lineCount += 1
      put(line)
    }
  }

  /// Called under the lock, so that lines of two threads never mix.
  private func put(_ bytes: [UInt8]) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = unsafe rest.withUnsafeBytes {
        unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      if count < 0 {
        if errno == EINTR { continue }
        return
      }
      rest = rest.dropFirst(count)
    }
  }
}
