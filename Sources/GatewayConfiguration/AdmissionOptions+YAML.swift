import Batching
import Filtering
import GatewayCore
import Ingest
import Upstream

extension IngestOptions {
  static let topicRulesMax = 64
  static let limitTopicsMax = 16

  /// ## Configuration keys
  /// On the route: `allow`, `deny`, and `source_limits`, a list of sections with `topics`, `rate`,
  /// `burst` and `max_record`.
  mutating func readAdmission(_ route: inout SectionReader) {
    let count = 1...Self.topicRulesMax
    allowedTopics = route.list("allow", of: .topicFilter, count: count, orWord: "all") ?? []
    deniedTopics = route.list("deny", of: .topicFilter, count: count, orWord: "none") ?? []
    var limits: [SourceLimit] = []
    let hasLimits = route.optionalSections(
      "source_limits", count: 1...SourceLimit.countMax
    ) { _, section in
      var limit = SourceLimit()
      limit.read(&section)
      limits.append(limit)
    }
    if hasLimits { sourceLimits = limits }
  }
}

extension SourceLimit {
  fileprivate mutating func read(_ section: inout SectionReader) {
    let filters = section.list(
      "topics", of: .topicFilter, count: 1...IngestOptions.limitTopicsMax, orOne: true)
    if let filters { topics = filters }
    rate = section.value("rate", .messageRate)
    burst = section.value("burst", .integer(1...Self.burstMax)) ?? rate?.count
    recordByteCountMax = section.value("max_record", .byteCount(RouteSection.recordRange))
    if !section.isPresent("rate"), !section.isPresent("max_record") {
      section.findings.error(
        at: section.path, "limits nothing; accepted: rate, as in 10/s, or max_record, or both")
    }
    if section.isPresent("burst"), !section.isPresent("rate") {
      section.findings.error(
        at: section.keyPath("burst"), "belongs to rate, which is missing; accepted: rate: 10/s")
    }
  }
}

extension RouteSection {
  /// Filters all of whose messages would be dropped.
  func checkTopicRules(_ findings: Findings) {
    for (index, filter) in ingest.subscriptions.enumerated() {
      let isDenied = ingest.deniedTopics.contains { TopicFilters.covers($0, filter) }
      let isAllowed =
        ingest.allowedTopics.isEmpty
        || ingest.allowedTopics.contains { TopicFilters.overlap($0, filter) }
      guard isDenied || !isAllowed else { continue }
      findings.warning(
        at: "\(path).subscribe[\(index)]",
        "brings nothing: \(isDenied ? "deny has" : "allow has none of") its topics")
    }
  }

  /// Limits that no message meets, and sizes that another limit has cut already.
  func checkSourceLimits(_ findings: Findings) {
    for (index, limit) in ingest.sourceLimits.enumerated() {
      let place = "\(path).source_limits[\(index)]"
      if let size = limit.recordByteCountMax, size > ingest.recordByteCountMax {
        findings.error(
          at: place + ".max_record",
          "\(size) is more than the route takes; accepted: at most its max_record, which is "
            + "\(ingest.recordByteCountMax)")
      }
      for (other, earlier) in ingest.sourceLimits[..<index].enumerated()
      where limit.topics.allSatisfy({ topic in
        earlier.topics.contains { TopicFilters.covers($0, topic) }
      }) {
        findings.warning(
          at: place, "never holds: source_limits[\(other)] is for all of its topics already")
        break
      }
    }
  }

  /// What a raw destination would publish on a topic of the broker's own, which begins with `$`.
  var refusedPrefixes: [String] {
    sinks.compactMap { sink in
      let map = sink.options.topicMap
      guard sink.options.batch.format == .raw, map.addPrefix.isEmpty, !map.removePrefix.isEmpty
      else { return nil }
      return map.removePrefix + "$"
    }
  }
}

extension ScalarKind where Value == MessageRate {
  private static var units: [(name: String, duration: Duration)] {
    [("s", .seconds(1)), ("m", .seconds(60)), ("h", .seconds(3_600))]
  }

  /// `10/s`, `600/m`, `12/h`.
  static var messageRate: ScalarKind {
    let count = ScalarKind<Int>.integer(1...1_000_000)
    return ScalarKind(
      accepted: "messages in a second, minute or hour, 1 to 1000000, as in 10/s, 600/m or 12/h"
    ) { (text) throws(Rejection) in
      guard let slash = text.firstIndex(of: "/") else {
        throw Rejection("does not say in what time, as in 10/s")
      }
      guard let unit = units.first(where: { $0.name == text[slash...].dropFirst() }) else {
        throw Rejection("has a unit of time that is not known")
      }
      return MessageRate(count: try count.read(String(text[..<slash])), per: unit.duration)
    }
  }
}

extension MessageRate {
  /// As it is written in a file.
  var text: String {
    switch per {
    case .seconds(1): "\(count)/s"
    case .seconds(60): "\(count)/m"
    default: "\(count)/h"
    }
  }
}
