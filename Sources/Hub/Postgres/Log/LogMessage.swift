// What the server sends over a replication connection, and what it hears
// (https://www.postgresql.org/docs/15/protocol-replication.html and
// https://www.postgresql.org/docs/15/protocol-logicalrep-message-formats.html, version 1, binary).

/// A place in the server's log.
struct LogPosition: Sendable, Hashable, Comparable, CustomStringConvertible {
  let rawValue: UInt64

  init(_ rawValue: UInt64) { self.rawValue = rawValue }

  static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

  /// As the server writes it: `16/B374D848`.
  var description: String {
    String(rawValue >> 32, radix: 16, uppercase: true) + "/"
      + String(rawValue & 0xffff_ffff, radix: 16, uppercase: true)
  }
}

/// Bytes that are no message of this protocol.
struct LogFormatError: Error, CustomStringConvertible {
  let description: String
}

/// One message of the two-way copy.
enum LogMessage: Sendable, Hashable {
  /// A change, as `LogChange` reads it.
  case data(ArraySlice<UInt8>)
  /// The server is alive, and has sent all that concerns us up to `end`.
  case keepalive(end: LogPosition, wantsReply: Bool)

  init(_ bytes: [UInt8]) throws(LogFormatError) {
    var reader = LogReader(bytes[...])
    switch try reader.byte() {
    case UInt8(ascii: "w"):
      // Start of the data, end of the log, time of the server.
      for _ in 0..<3 { _ = try reader.integer64() }
      self = .data(reader.rest)
    case UInt8(ascii: "k"):
      let end = LogPosition(try reader.integer64())
      _ = try reader.integer64()
      self = .keepalive(end: end, wantsReply: try reader.byte() == 1)
    case let other: throw LogFormatError(description: "a message of kind \(other)")
    }
  }

  /// Tells the server that all before `position` may go. Times count microseconds from 2000.
  static func statusUpdate(_ position: LogPosition, microseconds: Int64) -> [UInt8] {
    var bytes: [UInt8] = [UInt8(ascii: "r")]
    // Written, flushed, applied: one and the same here.
    for _ in 0..<3 { bytes.append(big64: position.rawValue) }
    bytes.append(big64: UInt64(bitPattern: microseconds))
    bytes.append(0)
    return bytes
  }
}

/// One message of the plugin `pgoutput`.
enum LogChange: Sendable, Hashable {
  enum Value: Sendable, Hashable {
    case null
    /// Kept outside the row and not changed: never in an insert.
    case unchanged
    case text(ArraySlice<UInt8>)
    case binary(ArraySlice<UInt8>)
  }

  case begin
  /// The transaction is whole; the next begins at or behind `end`.
  case commit(end: LogPosition)
  /// What a table's number means from here on.
  case relation(id: UInt32, schema: String, name: String, columns: [String])
  case insert(relation: UInt32, values: [Value])
  /// Update, delete, truncate, type, origin, message: not ours.
  case other

  init(_ bytes: ArraySlice<UInt8>) throws(LogFormatError) {
    var reader = LogReader(bytes)
    switch try reader.byte() {
    case UInt8(ascii: "B"): self = .begin
    case UInt8(ascii: "C"):
      _ = try reader.byte()
      _ = try reader.integer64()
      self = .commit(end: LogPosition(try reader.integer64()))
    case UInt8(ascii: "R"):
      let id = try reader.integer32()
      let (schema, name) = (try reader.text(), try reader.text())
      _ = try reader.byte()
      var columns: [String] = []
      for _ in 0..<(try reader.integer16()) {
        _ = try reader.byte()
        columns.append(try reader.text())
        _ = try reader.integer32()
        _ = try reader.integer32()
      }
      self = .relation(id: id, schema: schema, name: name, columns: columns)
    case UInt8(ascii: "I"):
      let id = try reader.integer32()
      guard try reader.byte() == UInt8(ascii: "N") else {
        throw LogFormatError(description: "an insert without a new row")
      }
      self = .insert(relation: id, values: try reader.values())
    case UInt8(ascii: "U"), UInt8(ascii: "D"), UInt8(ascii: "T"), UInt8(ascii: "Y"),
      UInt8(ascii: "O"), UInt8(ascii: "M"):
      self = .other
    case let other: throw LogFormatError(description: "a change of kind \(other)")
    }
  }
}

/// Takes bytes from the front; every length is checked.
private struct LogReader {
  private(set) var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  mutating func take(_ count: Int) throws(LogFormatError) -> ArraySlice<UInt8> {
    guard count >= 0, count <= rest.count else {
      throw LogFormatError(description: "a message that ends too early")
    }
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
  }

  private mutating func integer(_ count: Int) throws(LogFormatError) -> UInt64 {
    try take(count).reduce(0) { $0 << 8 | UInt64($1) }
  }

  mutating func byte() throws(LogFormatError) -> UInt8 { UInt8(try integer(1)) }
  mutating func integer16() throws(LogFormatError) -> Int { Int(try integer(2)) }
  mutating func integer32() throws(LogFormatError) -> UInt32 { UInt32(try integer(4)) }
  mutating func integer64() throws(LogFormatError) -> UInt64 { try integer(8) }

  /// Up to its NUL.
  mutating func text() throws(LogFormatError) -> String {
    guard let end = rest.firstIndex(of: 0) else {
      throw LogFormatError(description: "a text without its end")
    }
    defer { rest = rest[rest.index(after: end)...] }
    return String(decoding: rest[..<end], as: UTF8.self)
  }

  mutating func values() throws(LogFormatError) -> [LogChange.Value] {
    var values: [LogChange.Value] = []
    for _ in 0..<(try integer16()) {
      switch try byte() {
      case UInt8(ascii: "n"): values.append(.null)
      case UInt8(ascii: "u"): values.append(.unchanged)
      case UInt8(ascii: "t"): values.append(.text(try take(Int(try integer32()))))
      case UInt8(ascii: "b"): values.append(.binary(try take(Int(try integer32()))))
      case let other: throw LogFormatError(description: "a value of kind \(other)")
      }
    }
    return values
  }
}
