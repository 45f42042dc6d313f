import CLinux
import GatewayCore
import Glibc

/// A terminal whose screen and keyboard are ours (pts(4)): a program is given `path` as its
/// standard input and output, and takes it for a person's. Goes with the owner, and is then gone
/// for the program, too. One thread.
package final class PseudoTerminal {
  /// Of the program's side.
  package let path: String
  /// Everything that has been written to the screen and taken by `look`, escape sequences included.
  package private(set) var screen = ""
  private let own: FileDescriptor
  /// Keeps the terminal there while no program has it open.
  private let other: FileDescriptor

  package init(columns: UInt16 = 80, rows: UInt16 = 24) throws(SystemError) {
    var number: UInt32 = 0
    let raw = unsafe penstock_open_terminal(.init(columns: columns, rows: rows), &number)
    guard raw >= 0 else { throw SystemError("open a pseudo terminal") }
    own = FileDescriptor(owning: raw)
    path = "/dev/pts/\(number)"
    let kept = unsafe open(path, O_RDWR | O_NOCTTY | O_CLOEXEC)
    guard kept >= 0 else { throw SystemError("open \(path)") }
    other = FileDescriptor(owning: kept)
  }

  /// Takes what has been written since; waits at most `limit` for the first of it.
  package func look(atMost limit: Duration = .milliseconds(20)) {
    var entry = pollfd(fd: own.raw, events: Int16(POLLIN), revents: 0)
    _ = unsafe poll(&entry, 1, Int32(clamping: limit.nanoseconds / 1_000_000))
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = unsafe read(own.raw, &chunk, chunk.count)
      guard count > 0 else { return }
      screen += String(decoding: chunk[..<count], as: UTF8.self)
    }
  }

  /// Presses keys.
  package func press(_ keys: String) {
    let bytes = Array(keys.utf8)
    _ = unsafe write(own.raw, bytes, bytes.count)
  }

  /// Whether it echoes keys and hands over whole lines, as for a shell.
  package var isCooked: Bool {
    var attributes = termios()
    guard unsafe tcgetattr(other.raw, &attributes) == 0 else { return false }
    return attributes.c_lflag & tcflag_t(ICANON | ECHO) == tcflag_t(ICANON | ECHO)
  }
}
