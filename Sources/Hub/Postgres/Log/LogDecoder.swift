import GatewayCore

/// Messages of the log → rows of the outbox and ends of transactions. Pure.
struct LogDecoder: Sendable {
  enum Outcome: Sendable, Hashable {
    case row(OutboxRow)
    case committed(LogPosition)
    case nothing
  }

  /// What an insert must bring, in this order; columns that come behind are for newer versions.
  static let columns = ["number", "topic", "key", "payload", "expiry", "time"]

  /// Of the outbox, since the server has told it on this connection.
  private var relation: UInt32?

  init() {}

  mutating func take(_ bytes: ArraySlice<UInt8>) throws(LogFormatError) -> Outcome {
    switch try LogChange(bytes) {
    case .begin, .other: return .nothing
    case .commit(let end): return .committed(end)
    case .relation(let id, _, let name, let columns):
      if name == "outbox" {
        guard columns.starts(with: Self.columns) else {
          throw LogFormatError(description: "an outbox with the columns \(columns)")
        }
        relation = id
      }
      return .nothing
    case .insert(let id, let values):
      guard id == relation else { return .nothing }
      return .row(try Self.row(values))
    }
  }

  private static func row(_ values: [LogChange.Value]) throws(LogFormatError) -> OutboxRow {
    func bytes(_ column: Int) throws(LogFormatError) -> [UInt8]? {
      guard column < values.count else {
        throw LogFormatError(description: "a row of \(values.count) values")
      }
      switch values[column] {
      case .binary(let bytes): return Array(bytes)
      case .null: return nil
      case .text, .unchanged:
        throw LogFormatError(description: "a value of \(columns[column]) that is not binary")
      }
    }
    func integer(_ column: Int) throws(LogFormatError) -> UInt64? {
      guard let bytes = try bytes(column) else { return nil }
      guard bytes.count == 8 else {
        throw LogFormatError(description: "\(columns[column]) of \(bytes.count) bytes")
      }
      return bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }
    guard let number = try integer(0), let topic = try bytes(1), let key = try bytes(2),
      let payload = try bytes(3), let time = try integer(5)
    else { throw LogFormatError(description: "a row with NULL where none may be") }
    return OutboxRow(
      number: number, topic: String(decoding: topic, as: UTF8.self),
      key: String(decoding: key, as: UTF8.self), payload: payload,
      expiry: try integer(4).map { UInt32(clamping: $0) },
      time: WallTime(nanoseconds: Int64(bitPattern: time)))
  }
}

/// How far the log may be forgotten: up to the end of the last transaction of which every message
/// has left, and of all before it. Pure.
///
///     received:   B 7 8 C@100   B 9 C@120   keepalive@130
///     left 7:     nothing       left 8: 100   left 9: 120, then 130
struct LogProgress: Sendable {
  /// Transactions whose messages have not all left: the last message of each, and its end.
  private var open: [(last: UInt64, end: LogPosition)] = []
  private var received: UInt64 = 0
  private var left: UInt64 = 0
  /// A row has come, the end of its transaction has not.
  private var isInside = false
  /// What the server may be told; never goes back.
  private(set) var confirmed: LogPosition

  /// - Parameter start: where the server says the slot is.
  init(start: LogPosition) { confirmed = start }

  /// Bounded by what the receiver keeps of messages that have not left.
  var openCount: Int { open.count }

  mutating func received(_ number: UInt64) {
    received = max(received, number)
    isInside = true
  }

  mutating func committed(_ end: LogPosition) {
    isInside = false
    if let last = open.last, last.last == received {
      open[open.count - 1].end = end
    } else {
      open.append((received, end))
    }
    settle()
  }

  mutating func left(through number: UInt64) {
    left = max(left, number)
    settle()
  }

  /// The server has sent all that concerns us up to `end`: there is nothing of ours in between.
  mutating func idle(_ end: LogPosition) {
    if !isInside, open.isEmpty { confirmed = max(confirmed, end) }
  }

  private mutating func settle() {
    let done = open.prefix { $0.last <= left }
    guard let last = done.last else { return }
    confirmed = max(confirmed, last.end)
    open.removeFirst(done.count)
  }
}
