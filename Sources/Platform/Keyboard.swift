import CLinux
import Glibc

/// Single keys from the terminal on standard input, unechoed, as long as this lives. Where standard
/// input is no terminal there are none.
package struct Keyboard: ~Copyable {
  private let before: termios?

  package init() {
    var attributes = termios()
    guard unsafe tcgetattr(STDIN_FILENO, &attributes) == 0 else {
      before = nil
      return
    }
    before = attributes
    // Ctrl-C still is a signal.
    attributes.c_lflag &= ~tcflag_t(ICANON | ECHO)
    _ = unsafe tcsetattr(STDIN_FILENO, TCSANOW, &attributes)
  }

  /// For `Poll.wait`; -1, which is never ready, where there are no keys.
  package var pollDescriptor: Int32 { before == nil ? -1 : STDIN_FILENO }

  /// The key that waits; nil when the terminal is gone.
  package func read() -> UInt8? {
    var key: UInt8 = 0
    return unsafe Glibc.read(STDIN_FILENO, &key, 1) == 1 ? key : nil
  }

  deinit {
    guard var before else { return }
    _ = unsafe tcsetattr(STDIN_FILENO, TCSANOW, &before)
  }
}

extension Console {
  /// Of the terminal on standard output; nil where it is none.
  package static var size: (columns: Int, rows: Int)? {
    let size = penstock_terminal_size(STDOUT_FILENO)
    guard size.columns > 0, size.rows > 0 else { return nil }
    return (Int(size.columns), Int(size.rows))
  }
}
