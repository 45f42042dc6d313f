import Audit
import GatewayCore
import Hub
import Platform

// What the suites of hub processes share.

extension BrokerProcess {
  /// One that keeps what it has for an absent hub, started.
  static func keeping(name: String = "central") throws -> BrokerProcess {
    var options = BrokerOptions()
    options.maxQueuedMessages = 0
    var broker = try BrokerProcess(name: name, options: options)
    try broker.start()
    return broker
  }
}

extension HubUnderTest {
  /// How often each sequence was applied.
  func appliedCounts() throws -> [UInt64: Int] {
    var counts: [UInt64: Int] = [:]
    for event in try events() {
      counts[event.origin?.sequence.rawValue ?? 0, default: 0] += 1
    }
    return counts
  }
}
