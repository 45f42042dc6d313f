import CPostgres
import GatewayCore

// The two-way copy in which a server sends its log and hears how far it was taken.
extension PostgresConnection {
  /// - Throws: what the server has against it; `55006`: somebody else has the slot.
  mutating func beginCopy(_ command: String) throws(PostgresError) {
    let answer = try script(command)
    guard answer.last?.isCopy == true else { throw broken("the server sends no log") }
  }

  /// The next message that is there; nil: none yet. Never waits.
  mutating func copied() throws(PostgresError) -> [UInt8]? {
    if let message = try takeCopied() { return message }
    guard unsafe PQconsumeInput(handle) == 1 else { throw broken() }
    return try takeCopied()
  }

  private mutating func takeCopied() throws(PostgresError) -> [UInt8]? {
    var start: UnsafeMutablePointer<CChar>?
    let count = unsafe PQgetCopyData(handle, &start, 1)
    defer { unsafe PQfreemem(start) }
    switch count {
    case 0: return nil
    case 1...:
      guard let start = unsafe start else { throw broken() }
      return unsafe Array(UnsafeRawBufferPointer(start: start, count: Int(count)))
    // The server has ended the copy: why stands in the result behind it.
    case -1:
      var reason: String?
      while unsafe PQisBusy(handle) == 0, let result = unsafe PQgetResult(handle) {
        let message = unsafe PQresultErrorMessage(result).map { unsafe String(cString: $0) } ?? ""
        unsafe PQclear(result)
        if !message.isEmpty {
          reason = message.split(whereSeparator: \.isNewline).first.map(String.init)
        }
        if unsafe PQstatus(handle) == CONNECTION_BAD { break }
      }
      throw broken(reason ?? "the server has ended its log")
    default: throw broken()
    }
  }

  /// Sends a message to the server.
  mutating func copy(_ message: [UInt8]) throws(PostgresError) {
    let sent = unsafe message.withUnsafeBytes { bytes in
      unsafe PQputCopyData(
        handle, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
    }
    guard sent == 1 else { throw broken() }
    try flush()
  }
}
