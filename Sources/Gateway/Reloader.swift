import CoreMetrics
package import GatewayConfiguration
import GatewayCore
import Logging
import Mosquitto
package import Observability
import Platform
import ServiceLifecycle
import UnixSignals
import Upstream

/// What a reload needs beside the running gateway.
package struct ReloadSource: Sendable {
  /// Reads and checks the configuration file anew. Blocks for its files.
  package let load: @Sendable () throws(ConfigurationError) -> LoadedConfiguration
  package let threshold: LogThreshold
  /// A renamed route may leave its session behind.
  package let abandonsSessions: Bool

  package init(
    threshold: LogThreshold, abandonsSessions: Bool,
    load: @escaping @Sendable () throws(ConfigurationError) -> LoadedConfiguration
  ) {
    self.load = load
    self.threshold = threshold
    self.abandonsSessions = abandonsSessions
  }
}

/// SIGHUP: reads the configuration file anew and takes over what changed; connections whose
/// certificates or password were replaced are made anew. A file with an error, or one that this
/// process cannot take over, is refused as a whole: nothing of it is applied.
struct Reloader: Service {
  let hangups: UnixSignalsSequence
  let source: ReloadSource
  let initial: GatewayOptions
  let composition: Composition
  let logger: Logger
  /// Throws a sentence when this process cannot run these options.
  let check: @Sendable (GatewayOptions) throws(GatewayError) -> Void

  /// What a reload takes over.
  private struct New: Sendable {
    var options: GatewayOptions
    var plan: ReloadPlan
    var prints: [String: CredentialPrint]
  }

  private enum Outcome: String, CaseIterable {
    case applied
    case unchanged
    case refused
  }

  func run() async throws {
    var current = initial
    var prints = try await onThread { Self.prints(of: initial) }
    for outcome in Outcome.allCases { count(outcome, by: 0) }
    for await _ in hangups.cancelOnGracefulShutdown() {
      // A new route that could not start is tried again.
      current.routes.removeAll { !composition.runs(route: $0.name) }
      guard let new = await accepted(over: current) else {
        count(.refused)
        continue
      }
      let renewed = renew(from: prints, to: new.prints)
      await apply(new.plan, from: current, to: new.options)
      var news = metadata(of: new.plan, renewed: renewed)
      if new.options.logging.level != current.logging.level {
        news["reload.level"] = "\(new.options.logging.level.rawValue)"
      }
      count(news.isEmpty ? .unchanged : .applied)
      logger.notice(
        news.isEmpty
          ? "the configuration was read anew" : "the new configuration is in force",
        metadata: news)
      (current, prints) = (new.options, new.prints)
    }
  }

  /// Files are read there, not on a thread of the pool.
  private func onThread<Success: Sendable>(
    _ body: @escaping @Sendable () throws -> Success
  ) async throws -> Success {
    try await Thread.run(name: "reload", body)
  }

  private func count(_ outcome: Outcome, by amount: Int = 1) {
    Counter(label: "penstock_config_reloads_total", dimensions: [("outcome", outcome.rawValue)])
      .increment(by: Int64(amount))
  }

  /// The new options and what they change; nil, and the log says why, when they are refused.
  private func accepted(over current: GatewayOptions) async -> New? {
    var reasons: [String] = []
    do {
      let (loaded, prints) = try await onThread { [source] in
        let loaded = try source.load()
        return (loaded, Self.prints(of: loaded.options))
      }
      for warning in loaded.warnings {
        logger.warning("configuration", metadata: ["finding": "\(warning)"])
      }
      let plan = try ReloadPlan(
        from: current, to: loaded.options, ended: composition.desk.endedRoutes,
        abandonsSessions: source.abandonsSessions)
      // Those that leave are there for some time still.
      var most = loaded.options
      most.routes += current.routes.filter { plan.retired.contains($0.name) }
      try check(most)
      return New(options: loaded.options, plan: plan, prints: prints)
    } catch let error as ConfigurationError {
      reasons = error.diagnostics.map(\.description)
    } catch let error as ReloadRefusal {
      reasons = error.reasons
    } catch {
      reasons = ["\(error)"]
    }
    for reason in reasons { logger.error("configuration", metadata: ["finding": "\(reason)"]) }
    logger.error(
      "the new configuration is refused as a whole, the old one stays in force",
      metadata: ["findings": "\(reasons.count)"])
    return nil
  }

  private static func prints(of options: GatewayOptions) -> [String: CredentialPrint] {
    Dictionary(
      uniqueKeysWithValues: options.usedBrokers.map {
        ($0.name, CredentialPrint(of: $0.connection))
      })
  }

  /// Recalls the connections whose files were replaced. Before anything else: what starts after
  /// this reads the new ones.
  private func renew(
    from old: [String: CredentialPrint], to new: [String: CredentialPrint]
  ) -> [String] {
    let names = new.keys.filter { old[$0] != nil && old[$0] != new[$0] }.sorted()
    let now = Clock.monotonic()
    for name in names { composition.companions.recall(of: name).renew(at: now) }
    return names
  }

  private func apply(
    _ plan: ReloadPlan, from old: GatewayOptions, to new: GatewayOptions
  ) async {
    source.threshold.level = new.logging.level.level
    composition.desk.adopt(new)
    composition.companions.adopt(new)
    let certificates = composition.companions.certificates
    certificates.watch(new.usedBrokers)
    // What cannot be read now is looked at within the hour.
    _ = try? await onThread { certificates.look(now: Clock.wall()) }
    let before = Dictionary(uniqueKeysWithValues: old.routes.map { ($0.name, $0) })
    let leaving = (plan.retired + plan.abandoned).filter { composition.runs(route: $0) }
    let isLeft = Set(leaving.flatMap { before[$0]?.sinkBrokers ?? [] })
    let isNeeded = new.helpedBrokers
    for name in plan.brokers {
      let broker = isNeeded[name]
      await composition.stopHelpers(
        of: name, keepsStatus: isLeft.contains(name) && broker?.isDestination != true)
      if let broker { composition.startHelpers(of: broker) }
    }
    var changed = plan.changed
    for route in new.routes where plan.redirected.contains(route.name) {
      guard let old = before[route.name], composition.redirect(old, to: route) else {
        changed.append(route.name)
        continue
      }
    }
    // All at once: each may deliver for some seconds before it has ended.
    let drains = await withTaskGroup(of: (String, RouteHandle.Drain?).self) { group in
      for name in changed {
        group.addTask { (name, await composition.stopToRestart(route: name)) }
      }
      for name in plan.added {
        // Its name may be that of a route that is still on its way out.
        group.addTask {
          _ = await composition.stopToRestart(route: name)
          return (name, nil)
        }
      }
      for name in plan.retired + plan.abandoned {
        guard let route = before[name] else { continue }
        let endsSession = !plan.abandoned.contains(name)
        group.addTask {
          await composition.retire(route, of: old, endsSession: endsSession)
          return (name, nil)
        }
      }
      var drains: [String: RouteHandle.Drain] = [:]
      for await (name, drain) in group { drains[name] = drain }
      return drains
    }
    for route in new.routes where changed.contains(route.name) {
      let left = before[route.name]?.sinks.map(\.name) ?? []
      for sink in left where !route.sinks.contains(where: { $0.name == sink }) {
        composition.forget(sink: sink, of: route.name)
      }
      composition.start(route, of: new, drain: drains[route.name])
    }
    for route in new.routes where plan.added.contains(route.name) {
      composition.start(route, of: new, isNew: true)
    }
  }

  private func metadata(of plan: ReloadPlan, renewed: [String]) -> Logger.Metadata {
    var metadata: Logger.Metadata = [:]
    for (key, names) in [
      ("reload.added", plan.added), ("reload.changed", plan.changed),
      ("reload.redirected", plan.redirected), ("reload.retired", plan.retired),
      ("reload.abandoned", plan.abandoned), ("reload.brokers", plan.brokers),
      ("reload.links", plan.links), ("reload.renewed", renewed),
    ] where !names.isEmpty {
      metadata[key] = "\(names.joined(separator: " "))"
    }
    return metadata
  }
}
