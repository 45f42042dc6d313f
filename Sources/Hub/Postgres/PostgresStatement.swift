import GatewayCore

/// One statement with its arguments.
struct PostgresStatement {
  let sql: String
  var arguments = PostgresArguments()

  init(_ sql: String, _ add: (inout PostgresArguments) -> Void = { _ in }) {
    self.sql = sql
    add(&arguments)
  }
}

/// What stands for $1, $2, …: values and whole columns, in PostgreSQL's binary format
/// (https://www.postgresql.org/docs/15/protocol-overview.html#PROTOCOL-FORMAT-CODES). A column
/// becomes an array that the statement takes apart again with `unnest`: any number of rows is one
/// statement.
///
/// ## An array
///
///     int32 dimensions (1, or 0 when it is empty)   int32 has NULL   uint32 type of the elements
///     int32 count   int32 first index (1)
///     each: int32 byte count (-1 for NULL), bytes
struct PostgresArguments: Sendable {
  /// Types by their fixed numbers (pg_type.dat).
  private enum Kind: UInt32 {
    case bool = 16
    case bytes = 17
    case integer = 20
    case text = 25
    case double = 701

    var array: UInt32 {
      switch self {
      case .bool: 1000
      case .bytes: 1001
      case .integer: 1016
      case .text: 1009
      case .double: 1022
      }
    }
  }

  private(set) var bytes: [UInt8] = []
  /// Of each value in `bytes`; nil for NULL.
  private(set) var ranges: [Range<Int>?] = []
  private(set) var types: [UInt32] = []

  private mutating func add(_ type: UInt32, _ body: (inout [UInt8]) -> Void) {
    let start = bytes.count
    body(&bytes)
    ranges.append(start..<bytes.count)
    types.append(type)
  }

  // MARK: Values

  mutating func add(_ value: Int64) {
    add(Kind.integer.rawValue) { $0.append(big64: UInt64(bitPattern: value)) }
  }

  mutating func add(_ value: UInt64) { add(Int64(bitPattern: value)) }

  mutating func add(_ text: String) { add(Kind.text.rawValue) { $0.append(postgres: text) } }

  mutating func add(bytes value: [UInt8]) {
    add(Kind.bytes.rawValue) { $0.append(contentsOf: value) }
  }

  // MARK: Columns

  mutating func add(column values: some Collection<Int64?>) {
    column(.integer, values) { $1.append(big64: UInt64(bitPattern: $0)) }
  }

  mutating func add(column values: some Collection<UInt64>) {
    column(.integer, values.lazy.map(Optional.some)) { $1.append(big64: $0) }
  }

  mutating func add(column values: some Collection<Double>) {
    column(.double, values.lazy.map(Optional.some)) { $1.append(big64: $0.bitPattern) }
  }

  mutating func add(column values: some Collection<Bool>) {
    column(.bool, values.lazy.map(Optional.some)) { $1.append($0 ? 1 : 0) }
  }

  mutating func add(column values: some Collection<String?>) {
    column(.text, values) { $1.append(postgres: $0) }
  }

  mutating func add(bytesColumn values: some Collection<[UInt8]>) {
    column(.bytes, values.lazy.map(Optional.some)) { $1.append(contentsOf: $0) }
  }

  private mutating func column<Value>(
    _ kind: Kind, _ values: some Collection<Value?>,
    _ append: (Value, inout [UInt8]) -> Void
  ) {
    add(kind.array) { bytes in
      let count = UInt32(values.count)
      bytes.append(big32: count == 0 ? 0 : 1)
      bytes.append(big32: 1)
      bytes.append(big32: kind.rawValue)
      guard count > 0 else { return }
      bytes.append(big32: count)
      bytes.append(big32: 1)
      for value in values {
        guard let value else {
          bytes.append(big32: UInt32.max)
          continue
        }
        let place = bytes.count
        bytes.append(big32: 0)
        append(value, &bytes)
        let length = UInt32(bytes.count - place - 4)
        for index in 0..<4 {
          bytes[place + index] = UInt8(truncatingIfNeeded: length >> (24 - 8 * index))
        }
      }
    }
  }
}

extension [UInt8] {
  mutating func append(big32 value: UInt32) {
    for shift in stride(from: 24, through: 0, by: -8) {
      append(UInt8(truncatingIfNeeded: value >> UInt32(shift)))
    }
  }

  mutating func append(big64 value: UInt64) {
    append(big32: UInt32(truncatingIfNeeded: value >> 32))
    append(big32: UInt32(truncatingIfNeeded: value))
  }

  /// Text as the server takes it: it knows no NUL, and one of a stranger must not stop the hub. It
  /// becomes U+001A, which stands for what cannot be shown.
  fileprivate mutating func append(postgres text: String) {
    let start = count
    append(contentsOf: text.utf8)
    guard self[start...].contains(0) else { return }
    for index in start..<count where self[index] == 0 { self[index] = 0x1A }
  }
}
