import Glibc
import Synchronization

/// Which case each thread plays, for the moment at which a precondition of the product fails: then
/// the process ends, and only a signal handler can still say which seed it was.
package enum TrappedCase {
  private static let threadsMax = 64
  private static let threads = (0..<threadsMax).map { _ in Slot() }

  private final class Slot: Sendable {
    let thread = Atomic<UInt>(0)
    let seed = Atomic<UInt64>(0)
  }

  /// Prints `journal-torture NAME --seed SEED ARGUMENTS` when a case traps. Once per process.
  package static func report(_ name: String, arguments: String) {
    _ = threads
    _ = unsafe strncpy(prefix, "\njournal-torture \(name)\(arguments) --seed ", 255)
    for code in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT] {
      _ = signal(code) { code in
        TrappedCase.printCurrent()
        _ = signal(code, SIG_DFL)
        raise(code)
      }
    }
  }

  static func enter(_ seed: UInt64, slot: Int) {
    guard slot < threadsMax else { return }
    threads[slot].thread.store(UInt(pthread_self()), ordering: .relaxed)
    threads[slot].seed.store(seed, ordering: .relaxed)
  }

  // Allocated before the signal: the handler may not.
  private nonisolated(unsafe) static let prefix = {
    let bytes = UnsafeMutablePointer<CChar>.allocate(capacity: 256)
    unsafe bytes.initialize(repeating: 0, count: 256)
    return unsafe bytes
  }()

  private static func printCurrent() {
    let current = UInt(pthread_self())
    for index in 0..<threadsMax
    where threads[index].thread.load(ordering: .relaxed) == current {
      var seed = threads[index].seed.load(ordering: .relaxed)
      _ = unsafe Glibc.write(STDERR_FILENO, prefix, strlen(prefix))
      var digits = InlineArray<21, UInt8>(repeating: 0x0a)
      var start = 20
      repeat {
        start -= 1
        digits[start] = UInt8(ascii: "0") + UInt8(seed % 10)
        seed /= 10
      } while seed > 0
      unsafe digits.span.withUnsafeBytes { bytes in
        _ = unsafe Glibc.write(
          STDERR_FILENO, bytes.baseAddress.map { unsafe $0 + start }, 21 - start)
      }
    }
  }
}
