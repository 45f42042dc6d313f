// What one section cannot know: references, names that must differ, loops, routes that carry
// commands, and what this version of the program does not do yet.

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
  let availability: Availability

  func run() {
    checkNames()
    checkReferences()
    checkProtocols()
    checkClientIDs()
    checkExpiry()
    checkAvailability()
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
    for route in draft.routes {
      if draft.isCommandRoute(route) {
        if !availability.commandRoutes {
          unavailable(
            route.path + ".from",
            "a route that carries commands (it reads from \(route.from), to which another route "
              + "delivers batches)", accepted: "a broker that no other route delivers batches to")
        } else if route.journal.expireAfter == nil {
          findings.error(
            at: route.path + ".expire_after",
            "is required on a command route (it reads from \(route.from), to which another route "
              + "delivers batches): a \"start\" that comes three days late is a hazard; "
              + "accepted: a duration, as in 60s")
        }
      }
    }
  }

  private func checkAvailability() {
    for sink in draft.routes.flatMap(\.sinks) {
      if sink.options.drain == .liveFirst, !availability.liveFirst {
        unavailable(sink.path + ".drain", "live-first", accepted: DrainOrder.inOrder.rawValue)
      }
      if sink.options.acceptance == .hub, !availability.hubAcceptance {
        unavailable(sink.path + ".accept", "hub", accepted: Acceptance.broker.rawValue)
      }
      if sink.options.rateLimit != nil, !availability.rateLimit {
        unavailable(sink.path + ".rate_limit", "a limit", accepted: "none")
      }
      if sink.options.deadLetterTopic != nil, !availability.deadLetterTopic {
        unavailable(sink.path + ".dead_letter.topic", "a topic", accepted: "none, and file")
      }
    }
  }

  private func unavailable(_ path: String, _ what: String, accepted: String) {
    findings.error(at: path, "\(what) is not available in this version; accepted: \(accepted)")
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
