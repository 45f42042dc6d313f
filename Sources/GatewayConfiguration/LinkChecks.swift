// What `link` of a broker and the sinks that use it mean together.

import Batching
import GatewayCore
import Upstream

struct LinkChecks {
  let draft: ConfigurationDraft
  let findings: Findings

  func run() {
    for broker in draft.brokers {
      let sinks = draft.routes.flatMap(\.sinks).filter { $0.broker == broker.name }
      let place = "brokers.\(broker.name).link"
      if broker.link != LinkOptions() {
        checkUse(of: broker, by: sinks, at: place)
        checkBatches(of: sinks, broker.link, at: place)
      }
      checkUrgency(of: sinks, broker.link)
    }
  }

  private func checkUse(of broker: BrokerOptions, by sinks: [SinkSection], at place: String) {
    guard !sinks.isEmpty else {
      findings.warning(at: place, "has no effect: no route delivers to \(broker.name)")
      return
    }
    guard broker.link.connectWindow != nil || broker.link.dataBudget != nil else { return }
    for route in draft.routes where route.from == broker.name {
      findings.warning(
        at: route.path + ".from",
        "the connection that reads from \(broker.name) is neither closed nor counted by its link")
    }
  }

  /// A packet that has left is never called back: it holds up an alarm for as long as it takes.
  private func checkBatches(of sinks: [SinkSection], _ link: LinkOptions, at place: String) {
    guard let limit = link.rateLimit, limit.unit == .bytes else { return }
    let top = sinks.map(\.options.priority).max() ?? 0
    for sink in sinks
    where sink.options.batch.format == .cloudEventsBatch && sink.options.priority < top {
      let seconds = sink.options.batch.byteCountMax.rawValue / limit.perSecond
      guard seconds > Self.packetSecondsMax else { continue }
      findings.warning(
        at: sink.path + ".priority",
        "one batch of batch.max_bytes, \(sink.options.batch.byteCountMax), takes \(seconds) s of "
          + "\(place).rate_limit, and a higher priority waits for it; lower batch.max_bytes")
    }
  }

  private static let packetSecondsMax = 5

  private func checkUrgency(of sinks: [SinkSection], _ link: LinkOptions) {
    let isUsed =
      link.connectWindow != nil || link.dataBudget?.whenSpent == .urgentOnly
    for sink in sinks where sink.options.isUrgent && !isUsed {
      findings.warning(
        at: sink.path + ".urgent",
        "has no effect: the broker's link has no connect_window, and no data_budget with "
          + "when_spent: urgent-only")
    }
    if link.dataBudget?.whenSpent == .urgentOnly, !sinks.contains(where: \.options.isUrgent),
      let broker = sinks.first?.broker
    {
      findings.warning(
        at: "brokers.\(broker).link.data_budget.when_spent",
        "is the same as pause: no destination at \(broker) is urgent")
    }
  }
}
