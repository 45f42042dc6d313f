import CoreMetrics
package import GatewayConfiguration
import GatewayCore
import Logging
import Mosquitto
package import Observability
import Platform
import ServiceLifecycle
import UnixSignals

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

  private enum Outcome: String, CaseIterable {
    case applied
    case unchanged
    case refused
  }

  func run() async throws {
    var current = initial
    var prints = Self.prints(of: initial)
    for outcome in Outcome.allCases { count(outcome, by: 0) }
    for await _ in hangups.cancelOnGracefulShutdown() {
      guard let new = accepted(over: current) else {
        count(.refused)
        continue
      }
      let (options, plan) = new
      let renewed = renew(options, &prints)
      await apply(plan, from: current, to: options)
      current = options
      let isUnchanged = plan.isEmpty && renewed.isEmpty
      count(isUnchanged ? .unchanged : .applied)
      tell(plan, renewed: renewed)
    }
  }

  private func count(_ outcome: Outcome, by amount: Int = 1) {
    Counter(label: "penstock_config_reloads_total", dimensions: [("outcome", outcome.rawValue)])
      .increment(by: Int64(amount))
  }

  /// The new options and what they change; nil, and the log says why, when they are refused.
  private func accepted(
    over current: GatewayOptions
  ) -> (options: GatewayOptions, plan: ReloadPlan)? {
    var reasons: [String] = []
    do {
      let loaded = try source.load()
      for warning in loaded.warnings {
        logger.warning("configuration", metadata: ["finding": "\(warning)"])
      }
      let plan = try ReloadPlan(
        from: current, to: loaded.options, abandonsSessions: source.abandonsSessions)
      try check(loaded.options)
      return (loaded.options, plan)
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
  /// this has read the new ones.
  private func renew(
    _ options: GatewayOptions, _ prints: inout [String: CredentialPrint]
  ) -> [String] {
    let now = Clock.monotonic()
    let new = Self.prints(of: options)
    let names = new.keys.filter { prints[$0] != nil && prints[$0] != new[$0] }.sorted()
    for name in names { composition.companions.recall(of: name).renew(at: now) }
    prints = new
    return names
  }

  private func apply(
    _ plan: ReloadPlan, from old: GatewayOptions, to new: GatewayOptions
  ) async {
    source.threshold.level = new.logging.level.level
    composition.companions.certificates.watch(new.usedBrokers)
    composition.companions.certificates.look(now: Clock.wall())
    let isNeeded = new.helpedBrokers
    for name in plan.brokers {
      await composition.stopHelpers(of: name)
      if let broker = isNeeded[name] { composition.startHelpers(of: broker) }
    }
    // All at once: each may deliver for some seconds before it has ended.
    await withDiscardingTaskGroup { group in
      for name in plan.changed + plan.retired + plan.abandoned + plan.added {
        group.addTask { await composition.routes.stop(name) }
      }
    }
    let before = Dictionary(uniqueKeysWithValues: old.routes.map { ($0.name, $0) })
    for name in plan.retired {
      if let route = before[name] { composition.retire(route, of: old) }
    }
    for name in plan.abandoned { composition.forget(route: name) }
    for route in new.routes where plan.changed.contains(route.name) {
      composition.start(route, of: new)
    }
    for route in new.routes where plan.added.contains(route.name) {
      composition.start(route, of: new, isNew: true)
    }
  }

  private func tell(_ plan: ReloadPlan, renewed: [String]) {
    var metadata: Logger.Metadata = [:]
    for (key, names) in [
      ("reload.added", plan.added), ("reload.changed", plan.changed),
      ("reload.retired", plan.retired), ("reload.abandoned", plan.abandoned),
      ("reload.renewed", renewed),
    ] where !names.isEmpty {
      metadata[key] = "\(names.joined(separator: " "))"
    }
    logger.notice(
      metadata.isEmpty
        ? "the configuration was read anew" : "the new configuration is in force",
      metadata: metadata)
  }
}
