import Deduplication
package import GatewayConfiguration
import Ingest
import Mosquitto
import Observability
import Upstream

/// What another configuration changes in a running gateway. A pure value: nothing has happened yet.
package struct ReloadPlan: Sendable, Equatable {
  /// Routes to open.
  package var added: [String] = []
  /// Routes to stop and open again with their new options; the others do not notice.
  package var changed: [String] = []
  /// Routes that go on while some of their destinations get other options.
  package var redirected: [String] = []
  /// Routes to unsubscribe and drain, whose sessions end; their files stay.
  package var retired: [String] = []
  /// Routes to drain whose sessions are left behind, as the operator said they may be.
  package var abandoned: [String] = []
  /// Brokers whose own connections (status, probe) start anew, end, or begin.
  package var brokers: [String] = []

  /// Brokers whose link changes, under the connections that it has.
  package var links: [String] = []

  package var isEmpty: Bool { self == ReloadPlan() }

  package init() {}

  /// - Parameters:
  ///   - ended: routes that are drained and have no session any more.
  ///   - abandonsSessions: renaming a route may leave its session behind.
  /// - Throws: every reason why `new` cannot replace `old` in this process.
  package init(
    from old: GatewayOptions, to new: GatewayOptions, ended: Set<String> = [],
    abandonsSessions: Bool = false
  ) throws(ReloadRefusal) {
    var reasons: [String] = []
    Self.checkProcess(old, new, &reasons)
    let before = Dictionary(uniqueKeysWithValues: old.routes.map { ($0.name, $0) })
    let after = Dictionary(uniqueKeysWithValues: new.routes.map { ($0.name, $0) })
    for route in new.routes {
      guard let earlier = before[route.name] else {
        added.append(route.name)
        continue
      }
      guard earlier != route else { continue }
      if earlier.changedSinks(in: route) == nil {
        changed.append(route.name)
      } else {
        redirected.append(route.name)
      }
      // The client ids of another gateway are others.
      Self.check(
        earlier, route, abandonsSessions: abandonsSessions || old.gatewayID != new.gatewayID,
        &reasons)
    }
    for route in old.routes where after[route.name] == nil {
      let successor = new.routes.first { before[$0.name] == nil && $0.readsSame(as: route) }
      guard let successor, !ended.contains(route.name) else {
        retired.append(route.name)
        continue
      }
      if abandonsSessions {
        abandoned.append(route.name)
      } else {
        reasons.append(
          "routes: \(route.name) is gone and \(successor.name) reads the same messages. Renaming a "
            + "route leaves its session at \(route.source) behind, with what waits in it: first "
            + "`penstock drain --end-session --route \(route.name)`, or run with --abandon-session")
      }
    }
    brokers = Self.changedBrokers(old, new)
    let earlier = Dictionary(uniqueKeysWithValues: old.usedBrokers.map { ($0.name, $0.link) })
    links = new.usedBrokers.filter { broker in
      earlier[broker.name].map { $0 != broker.link } ?? false
    }.map(\.name)
    guard reasons.isEmpty else { throw ReloadRefusal(reasons: reasons) }
  }

  /// What belongs to the process as a whole.
  private static func checkProcess(
    _ old: GatewayOptions, _ new: GatewayOptions, _ reasons: inout [String]
  ) {
    if old.gatewayID != new.gatewayID {
      reasons.append(
        "gateway.id: \(old.gatewayID) is written in the journals and in the sessions at the "
          + "brokers; renaming a gateway means draining it and starting anew")
    }
    let changes: [(String, Bool)] = [
      ("gateway.site", old.site != new.site),
      ("gateway.data_directory", old.dataDirectory != new.dataDirectory),
      (
        "gateway.data_directory_is_mount", old.dataDirectoryIsMount != new.dataDirectoryIsMount
      ),
      ("observability", old.observability != new.observability),
      ("logging.format", old.logging.format != new.logging.format),
    ]
    for (key, isChanged) in changes where isChanged {
      reasons.append("\(key): takes a restart")
    }
  }

  private static func check(
    _ old: RouteOptions, _ new: RouteOptions, abandonsSessions: Bool, _ reasons: inout [String]
  ) {
    let place = "routes.\(new.name)"
    if old.ingest.deduplication.selector != new.ingest.deduplication.selector {
      reasons.append(
        "\(place).message_id: decides what is known already, so it takes a restart")
    }
    guard !abandonsSessions else { return }
    if old.source != new.source {
      reasons.append(
        "\(place).from: reading from \(new.source) leaves the session at \(old.source) behind, "
          + "with what waits in it: add a route and remove this one, or run with --abandon-session")
    } else if old.ingest.connection.clientID != new.ingest.connection.clientID {
      reasons.append(
        "brokers.\(new.source).client_id: another client id leaves the session behind, with what "
          + "waits in it: run with --abandon-session to do so")
    }
  }

  private static func changedBrokers(
    _ old: GatewayOptions, _ new: GatewayOptions
  ) -> [String] {
    let before = old.helpedBrokers
    let after = new.helpedBrokers
    let names = Set(before.keys).union(after.keys)
    return names.filter { before[$0] != after[$0] }.sorted()
  }
}

/// Why a configuration that is right cannot be taken over without a restart, or at all.
package struct ReloadRefusal: Error, Sendable, Equatable, CustomStringConvertible {
  /// Never empty; each begins with a key path.
  package let reasons: [String]

  package var description: String { reasons.joined(separator: "\n") }
}

/// A broker with what its own connections depend on; the link is the sinks' business.
struct HelpedBroker: Hashable {
  var options: BrokerOptions
  var isDestination: Bool
}

extension RouteOptions {
  /// The names of destinations whose options `new` changes, when it changes nothing else: neither
  /// what the route is nor what its files are. Nil: it changes more.
  func changedSinks(in new: RouteOptions) -> [String]? {
    var same = self
    same.sinks = new.sinks
    same.sinkBrokers = new.sinkBrokers
    guard same == new, sinks.map(\.name) == new.sinks.map(\.name),
      sinks.map(\.required) == new.sinks.map(\.required),
      sinks.map(\.deadLetterCapacity).max() == new.sinks.map(\.deadLetterCapacity).max()
    else { return nil }
    return new.sinks.indices.filter {
      sinks[$0] != new.sinks[$0] || sinkBrokers[$0] != new.sinkBrokers[$0]
    }.map { new.sinks[$0].name }
  }
}

extension GatewayOptions {
  /// The brokers in use, by name.
  var helpedBrokers: [String: HelpedBroker] {
    let destinations = Set(routes.flatMap(\.sinkBrokers))
    return Dictionary(
      uniqueKeysWithValues: usedBrokers.map { broker in
        var options = broker
        options.link = LinkOptions()
        let isDestination = destinations.contains(broker.name)
        return (broker.name, HelpedBroker(options: options, isDestination: isDestination))
      })
  }
}
