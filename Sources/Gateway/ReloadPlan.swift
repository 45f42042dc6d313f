import Deduplication
package import GatewayConfiguration
import Ingest
import Mosquitto
import Observability

/// What another configuration changes in a running gateway. A pure value: nothing has happened yet.
package struct ReloadPlan: Sendable, Equatable {
  /// Routes to open.
  package var added: [String] = []
  /// Routes to stop and open again with their new options; the others do not notice.
  package var changed: [String] = []
  /// Routes to unsubscribe and drain; their files stay.
  package var retired: [String] = []
  /// As `retired`, and their sessions are left behind, as the operator said they may be.
  package var abandoned: [String] = []
  /// Brokers whose own connections (status, probe) start anew, end, or begin.
  package var brokers: [String] = []

  package var isEmpty: Bool { self == ReloadPlan() }

  package init() {}

  /// - Parameter abandonsSessions: renaming a route may leave its session behind.
  /// - Throws: every reason why `new` cannot replace `old` in this process.
  package init(
    from old: GatewayOptions, to new: GatewayOptions, abandonsSessions: Bool = false
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
      changed.append(route.name)
      Self.check(earlier, route, abandonsSessions: abandonsSessions, &reasons)
    }
    for route in old.routes where after[route.name] == nil {
      let successor = new.routes.first { before[$0.name] == nil && $0.readsSame(as: route) }
      guard let successor else {
        retired.append(route.name)
        continue
      }
      if abandonsSessions {
        abandoned.append(route.name)
      } else {
        reasons.append(
          "routes: \(route.name) is gone and \(successor.name) reads the same messages. Renaming a "
            + "route leaves its session at \(route.source) behind, with what waits in it: drain it "
            + "first, or run with --abandon-session")
      }
    }
    brokers = Self.changedBrokers(old, new)
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
        "\(place).from: reading from \(new.source) leaves the session at \(old.source) behind, with "
          + "what waits in it: add a route and remove this one, or run with --abandon-session")
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

/// A broker with what its own connections depend on.
struct HelpedBroker: Hashable {
  var options: BrokerOptions
  var isDestination: Bool
}

extension GatewayOptions {
  /// The brokers in use, by name.
  var helpedBrokers: [String: HelpedBroker] {
    let destinations = Set(routes.flatMap(\.sinkBrokers))
    return Dictionary(
      uniqueKeysWithValues: usedBrokers.map {
        (
          $0.name, HelpedBroker(options: $0, isDestination: destinations.contains($0.name))
        )
      })
  }
}
