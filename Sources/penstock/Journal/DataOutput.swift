import GatewayCore
import Platform

/// Buffered standard output for commands that print much. A reader that went away (`| head`) ends
/// the command in peace; any other failure ends it with an error, because half an export must not
/// look like a whole one.
struct DataOutput: ~Copyable {
  private var buffer: [UInt8] = []
  private static let flushByteCount = 64 << 10
  /// False when nobody reads any more.
  private(set) var isOpen = true

  mutating func line(_ text: String) throws {
    buffer.append(utf8: text)
    try endLine()
  }

  mutating func line(_ object: JSONObject) throws {
    buffer.append(contentsOf: object.bytes)
    try endLine()
  }

  mutating func line(_ bytes: [UInt8]) throws {
    buffer.append(contentsOf: bytes)
    try endLine()
  }

  mutating func data(_ bytes: Span<UInt8>) throws {
    buffer.append(bytes)
    if buffer.count >= DataOutput.flushByteCount { try flush() }
  }

  mutating func flush() throws {
    defer { buffer.removeAll(keepingCapacity: true) }
    guard isOpen, !buffer.isEmpty else { return }
    do throws(SystemError) {
      try Console.data(buffer.span)
    } catch {
      isOpen = false
      guard error.isBrokenPipe else {
        throw ExitCode.disk.failure("the output is not complete: \(error)")
      }
    }
  }

  private mutating func endLine() throws {
    buffer.append(UInt8(ascii: "\n"))
    if buffer.count >= DataOutput.flushByteCount { try flush() }
  }
}
