import GatewayCore
import Glibc
import Synchronization

/// Lines for a thread that must not block on them: given at once, or read from a descriptor by a
/// thread of their own. At most `waitingMax` lines wait; then the reader does.
package final class LineSource: Sendable {
  package static let waitingMax = 1000
  /// A longer line is cut here, and goes on as the next line.
  package static let lineByteCountMax = 1 << 20

  private struct State {
    /// The next line is the last element.
    var waiting: [[UInt8]] = []
    var arriving: [[UInt8]] = []
    var isEnded = false
  }

  private let state = Mutex(State())
  /// Signalled when lines came or the source ended.
  package let news: WakeUp
  private let room: WakeUp

  /// All lines are there.
  package init(_ lines: [String]) throws(SystemError) {
    news = try WakeUp()
    room = try WakeUp()
    state.withLock {
      $0.arriving = lines.map { Array($0.utf8) }
      $0.isEnded = true
    }
    news.signal()
  }

  /// Reads lines from an open descriptor to its end, and closes it. An error ends it as well. The
  /// last line need not end with a newline.
  package init(readingAndClosing descriptor: Int32) throws(SystemError) {
    news = try WakeUp()
    room = try WakeUp()
    Thread.start(name: "lines") { self.read(FileDescriptor(owning: descriptor)) }
  }

  /// Reads the lines of a file.
  package convenience init(file path: String) throws(SystemError) {
    try self.init(readingAndClosing: try File.open(path, flags: O_RDONLY).relinquish())
  }

  /// The next line without its newline; nil when there is none now. `isEnded`: and never will be.
  package func take(_ isEnded: inout Bool) -> [UInt8]? {
    state.withLock { state in
      if state.waiting.isEmpty && !state.arriving.isEmpty {
        state.waiting = Array(state.arriving.reversed())
        state.arriving.removeAll(keepingCapacity: true)
        room.signal()
      }
      let line = state.waiting.popLast()
      isEnded = line == nil && state.isEnded
      return line
    }
  }

  private func read(_ descriptor: consuming FileDescriptor) {
    var chunk = [UInt8](repeating: 0, count: 65_536)
    var line: [UInt8] = []
    while true {
      guard let count = try? descriptor.read(into: &chunk), count > 0 else { break }
      for byte in chunk[..<count] {
        if byte == UInt8(ascii: "\n") || line.count == Self.lineByteCountMax {
          put(line)
          line.removeAll(keepingCapacity: true)
        }
        if byte != UInt8(ascii: "\n") { line.append(byte) }
      }
      news.signal()
    }
    if !line.isEmpty { put(line) }
    state.withLock { $0.isEnded = true }
    news.signal()
  }

  /// Waits for room.
  private func put(_ line: [UInt8]) {
    while true {
      let isTaken = state.withLock { state in
        if state.arriving.count >= Self.waitingMax { return false }
        state.arriving.append(line)
        return true
      }
      if isTaken { return }
      news.signal()
      _ = Poll.wait(socket: nil, wakeUp: room, timeout: .seconds(1))
      room.clear()
    }
  }
}
