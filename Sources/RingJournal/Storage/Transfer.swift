import Glibc
package import Platform

/// The loop around one system call that moves bytes: goes on where a short call ended, calls again
/// after an interruption. Apart from the calls themselves, so that the simulated disk can cut them
/// short.
package enum Transfer {
  /// Calls `once` with what is left, and the number of bytes before it, until all is written.
  /// Throws what `once` throws, except EINTR; ENOSPC when it writes nothing.
  package static func write(
    _ bytes: Span<UInt8>, _ once: (Span<UInt8>, _ done: Int) throws(SystemError) -> Int
  ) throws(SystemError) {
    var done = 0
    while done < bytes.count {
      do throws(SystemError) {
        let count = try once(bytes.extracting(done..<bytes.count), done)
        // A write of 0 bytes would loop for ever: a full disk that does not say so.
        if count == 0 { throw SystemError("pwrite", code: ENOSPC) }
        done += count
      } catch {
        if error.code != EINTR { throw error }
      }
    }
  }

  /// Calls `once` with what is left until the span is full or a call reads nothing; returns the
  /// number of bytes read. Throws what `once` throws, except EINTR.
  package static func read(
    into bytes: inout MutableSpan<UInt8>,
    _ once: (inout MutableSpan<UInt8>, _ done: Int) throws(SystemError) -> Int
  ) throws(SystemError) -> Int {
    var done = 0
    while done < bytes.count {
      do throws(SystemError) {
        var part = bytes._mutatingExtracting(done..<bytes.count)
        let count = try once(&part, done)
        if count == 0 { return done }
        done += count
      } catch {
        if error.code != EINTR { throw error }
      }
    }
    return done
  }
}
