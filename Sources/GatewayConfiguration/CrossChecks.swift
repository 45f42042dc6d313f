// What one section cannot know: references, names that must differ, loops, and routes that carry
// commands.

import Batching
import Deduplication
import GatewayCore
import Ingest
import Mosquitto
import RingJournal
import Upstream

struct CrossChecks {
  let draft: ConfigurationDraft
  let findings: Findings

  func run() {
    checkNames()
    checkReferences()
    checkProtocols()
    checkClientIDs()
    checkExpiry()
    checkTopicMaps()
    LinkChecks(draft: draft, findings: findings).run()
    LoopCheck(draft: draft, findings: findings).run()
  }

  private func checkNames() {
    var first: [String: String] = [:]
    for route in draft.routes where !route.name.isEmpty {
      if let other = first.updateValue(route.path, forKey: route.name) {
        findings.error(
          at: route.path + ".name",
          "\(route.name) is the name of \(other) already; a name is the identity of a journal")
      }
    }
  }

  private func checkReferences() {
    var used: Set<String> = []
    let names = draft.brokerNames.sorted()
    func check(_ name: String, at path: String) {
      guard !name.isEmpty else { return }
      used.insert(name)
      guard !draft.brokerNames.contains(name) else { return }
      var message = "\(name) is not one of the brokers"
      if let near = Suggestion.nearest(to: name, among: names) {
        message += "; did you mean \(near)?"
      }
      findings.error(at: path, message + "; accepted: \(names.joined(separator: ", "))")
    }
    for route in draft.routes {
      check(route.from, at: route.path + ".from")
      for sink in route.sinks { check(sink.broker, at: sink.path + ".broker") }
    }
    for broker in draft.brokers where !used.contains(broker.name) {
      findings.warning(at: "brokers.\(broker.name)", "no route uses this broker")
    }
  }

  /// MQTT 3.1.1 has no user properties and cannot say how large a packet may be.
  private func checkProtocols() {
    for route in draft.routes {
      if draft.broker(route.from)?.connection.protocolVersion == .v311,
        case .userProperty = route.ingest.deduplication.selector
      {
        findings.error(
          at: route.path + ".message_id.user_property",
          "user properties exist in MQTT 5 only and \(route.from) speaks 3.1.1; "
            + "accepted: protocol: 5, or an id in the payload")
      }
      for sink in route.sinks
      where draft.broker(sink.broker)?.connection.protocolVersion == .v311
        && sink.options.packetByteCountMax == nil
      {
        findings.error(
          at: sink.path + ".max_packet",
          "is required: \(sink.broker) speaks 3.1.1, where a broker drops what is too large and "
            + "acknowledges it; accepted: the largest packet that broker takes, as in 256KiB")
      }
    }
    for broker in draft.brokers where broker.connection.protocolVersion == .v311 {
      warnOfWeakness(broker.name)
    }
  }

  /// Legal, and a person should know.
  private func warnOfWeakness(_ name: String) {
    if draft.routes.contains(where: { $0.from == name }) {
      findings.warning(
        at: "brokers.\(name).protocol",
        "over 3.1.1 a group commit holds as many messages as the broker has in flight (Mosquitto: "
          + "max_inflight_messages, 20), and the broker alone decides how long it keeps our session"
      )
    }
    if draft.routes.contains(where: { $0.sinks.contains { $0.broker == name } }) {
      findings.warning(
        at: "brokers.\(name).protocol",
        "over 3.1.1 a broker cannot refuse: what its access rules or limits stop is acknowledged "
          + "and lost, and so is what has no subscriber; test the rules, and prefer protocol: 5")
    }
  }

  /// Two connections with one client id throw each other out for ever.
  private func checkClientIDs() {
    var owners: [(clientID: String, broker: BrokerOptions, path: String)] = []
    func claim(_ suffix: String, _ broker: BrokerOptions?, _ path: String) {
      guard let broker else { return }
      let clientID = broker.connection.clientID + suffix
      let other = owners.first {
        $0.clientID == clientID && ($0.broker.name == broker.name || $0.broker.isSame(as: broker))
      }
      if let other {
        findings.error(
          at: path,
          "its client id \(Findings.shown(clientID)) is the one of \(other.path) at the same "
            + "broker; choose another name or client_id")
      } else {
        owners.append((clientID, broker, path))
      }
    }
    var seenRoutes: Set<String> = []
    for route in draft.routes where !route.name.isEmpty && seenRoutes.insert(route.name).inserted {
      claim(ClientID.inbound(route: route.name), draft.broker(route.from), route.path + ".name")
      var seenSinks: Set<String> = []
      for sink in route.sinks
      where !sink.options.name.isEmpty && seenSinks.insert(sink.options.name).inserted {
        claim(
          ClientID.outbound(route: route.name, sink: sink.options.name),
          draft.broker(sink.broker), sink.path + ".name")
      }
    }
  }

  private func checkExpiry() {
    for route in draft.routes where draft.isCommandRoute(route) {
      if route.journal.expireAfter == nil {
        findings.error(
          at: route.path + ".expire_after",
          "is required on a command route (it reads from \(route.from), to which another route "
            + "delivers batches): a \"start\" that comes three days late is a hazard; "
            + "accepted: a duration, as in 60s")
      }
      for sink in route.sinks {
        if sink.options.batch.format != .raw {
          findings.warning(
            at: sink.path + ".format",
            "wraps commands in envelopes, which pumps do not read; accepted here as well: raw")
        } else if draft.broker(sink.broker)?.connection.protocolVersion == .v311 {
          findings.warning(
            at: sink.path + ".broker",
            "\(sink.broker) speaks 3.1.1, where a command cannot say how long it holds: one that "
              + "this broker keeps for an absent device is executed however late it comes")
        }
      }
    }
    warnOfOppositeRoutes()
  }

  /// Two raw routes in opposite directions: one of them may well carry commands, and nothing tells
  /// which.
  private func warnOfOppositeRoutes() {
    for (index, route) in draft.routes.enumerated() where route.journal.expireAfter == nil {
      let opposite = draft.routes[..<index].first { other in
        other.journal.expireAfter == nil && leadsBack(route, other) && leadsBack(other, route)
          && !draft.isCommandRoute(route) && !draft.isCommandRoute(other)
      }
      guard let opposite else { continue }
      findings.warning(
        at: route.path + ".expire_after",
        "is none here and on \(opposite.name), which leads the other way: if one of the two "
          + "carries commands, say after how long they must not be executed any more")
    }
  }

  /// Whether `back` delivers to the broker that `route` reads from.
  private func leadsBack(_ route: RouteSection, _ back: RouteSection) -> Bool {
    guard let source = draft.broker(route.from) else { return false }
    return back.sinks.contains { draft.broker($0.broker)?.isSame(as: source) ?? false }
  }

  /// What no rule matches is not delivered, and somebody should have meant that.
  private func checkTopicMaps() {
    for route in draft.routes {
      for sink in route.sinks where !sink.options.topicMap.rules.isEmpty {
        let open = route.ingest.subscriptions.first { filter in
          !sink.options.topicMap.rules.contains { TopicPattern.covers($0.source, filter) }
        }
        guard let open else { continue }
        findings.warning(
          at: sink.path + ".topic_map.rules",
          "none of them covers all of \(Findings.shown(open)): what no rule matches becomes a dead "
            + "letter")
      }
    }
  }
}

/// The client ids of one broker's connections: one handle per direction, route and sink, and two
/// for the broker itself.
package enum ClientID {
  package static func status(broker: String) -> String { "-\(broker)-status" }
  package static func probe(broker: String) -> String { "-\(broker)-probe" }
  static func inbound(route: String) -> String { "-\(route)-in" }
  static func outbound(route: String, sink: String) -> String { "-\(route)-\(sink)-out" }
}

extension ConfigurationDraft {
  func broker(_ name: String) -> BrokerOptions? { brokers.first { $0.name == name } }

  /// Whether some other route delivers batches to the broker this one reads from.
  func isCommandRoute(_ route: RouteSection) -> Bool {
    guard let source = broker(route.from) else { return false }
    return routes.contains { other in
      other.path != route.path
        && other.sinks.contains { sink in
          guard sink.options.batch.format == .cloudEventsBatch,
            let target = broker(sink.broker)
          else { return false }
          return target.isSame(as: source)
        }
    }
  }
}

extension BrokerOptions {
  /// One broker under two names is one broker: by name, or by an address they share.
  func isSame(as other: BrokerOptions) -> Bool {
    if name == other.name { return true }
    return connection.endpoints.contains { endpoint in
      endpoint != Self.placeholder
        && other.connection.endpoints.contains { $0.isSameBroker(as: endpoint) }
    }
  }
}
