import Glibc

/// Standard output and standard error, written whole lines at a time without buffering, so that
/// what a script or a person reads is never half a line and never late.
package enum Console {
  /// Whether standard output is a terminal: then progress and colour make sense.
  package static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

  /// Whether standard error is a terminal: then the progress of a command whose output is data
  /// goes there.
  package static var isErrorTerminal: Bool { isatty(STDERR_FILENO) == 1 }

  /// One line to standard output.
  package static func line(_ text: String = "") { write(text + "\n", to: STDOUT_FILENO) }

  /// Text as it is, without a line end: progress on a terminal.
  package static func text(_ text: String) { write(text, to: STDOUT_FILENO) }

  /// One line to standard error.
  package static func error(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

  /// Text to standard error as it is, without a line end: progress on a terminal.
  package static func errorText(_ text: String) { write(text, to: STDERR_FILENO) }

  /// Data to standard output, whole; blocks. Throws what write(2) says: EPIPE when the reader went
  /// away, ENOSPC when the output is a file on a full disk.
  package static func data(_ bytes: Span<UInt8>) throws(SystemError) {
    var done = 0
    while done < bytes.count {
      let count = unsafe bytes.extracting(done..<bytes.count).withUnsafeBufferPointer {
        unsafe Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count)
      }
      if count < 0 {
        if errno == EINTR { continue }
        throw SystemError("write to standard output")
      }
      done += count
    }
  }

  /// A reader that went away ends the output quietly (SIGPIPE is ignored by main).
  private static func write(_ text: String, to descriptor: Int32) {
    var text = text
    text.withUTF8 { bytes in
      var offset = 0
      while offset < bytes.count {
        let rest = unsafe UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[offset...])
        let count = unsafe Glibc.write(descriptor, rest.baseAddress, rest.count)
        if count < 0 {
          if errno == EINTR { continue }
          return
        }
        offset += count
      }
    }
  }
}
