import GatewayConfiguration
import GatewayCore

/// How fast a replay may go.
enum ReplayRate: Equatable {
  case records(Int)
  case bytes(ByteCount)

  /// `200/s` are records, `64KiB/s` bytes; nil for anything else.
  init?(_ text: String) {
    guard text.hasSuffix("/s") else { return nil }
    let quantity = String(text.dropLast(2))
    if let count = Int(quantity) {
      guard (1...1_000_000_000).contains(count) else { return nil }
      self = .records(count)
    } else {
      guard let bytes = ByteCount(text: quantity), bytes.rawValue > 0 else { return nil }
      self = .bytes(bytes)
    }
  }

  /// How long a message of this size takes.
  func duration(recordCount: Int, byteCount: Int) -> Duration {
    switch self {
    case .records(let perSecond): .seconds(1) * recordCount / perSecond
    case .bytes(let perSecond): .seconds(1) * byteCount / perSecond.rawValue
    }
  }

  /// Makes batches small enough that one of them is at most a second's worth.
  func limit(_ recordCountMax: inout Int, _ byteCountMax: inout Int) {
    switch self {
    case .records(let perSecond): recordCountMax = min(recordCountMax, perSecond)
    case .bytes(let perSecond): byteCountMax = min(byteCountMax, perSecond.rawValue)
    }
  }
}
