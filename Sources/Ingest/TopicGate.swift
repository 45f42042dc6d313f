import Filtering

/// Which topics a route carries at all. What the broker sends beyond is acknowledged, counted and
/// forgotten: it takes no sequence, and nobody is told of a gap, because it was never to be
/// carried.
///
/// The first line of defence against a broker, or a device behind it, that is not to be trusted:
/// topics that begin with `$` belong to a broker (`$SYS`, `$CONTROL`) and are never forwarded,
/// whatever the filters say. Nor is a topic that a raw destination would map to such a one.
package struct TopicGate: Sendable {
  private let allowed: TopicFilters
  private let denied: TopicFilters
  private let prefixes: [[UInt8]]

  package init(_ options: IngestOptions) {
    allowed = TopicFilters(options.allowedTopics)
    denied = TopicFilters(options.deniedTopics)
    prefixes = options.refusedPrefixes.map { Array($0.utf8) }
  }

  package func admits(_ topic: Span<UInt8>) -> Bool {
    if topic.isEmpty || topic[0] == UInt8(ascii: "$") { return false }
    for index in prefixes.indices {
      let prefix = prefixes[index]
      if Self.begins(topic, with: prefix.span) { return false }
    }
    if !allowed.isEmpty, !allowed.matches(topic) { return false }
    return denied.isEmpty || !denied.matches(topic)
  }

  private static func begins(_ topic: Span<UInt8>, with prefix: Span<UInt8>) -> Bool {
    guard topic.count >= prefix.count else { return false }
    for index in prefix.indices where topic[index] != prefix[index] { return false }
    return true
  }
}
