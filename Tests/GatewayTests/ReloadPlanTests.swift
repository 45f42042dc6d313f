// Goal: a reload changes exactly what differs, and refuses what would lose messages or needs a new
// process. Method: two configurations as text, and the plan between them, a pure value. Cannot
// show: that the plan is carried out (IntegrationTests/ReloadTests).

import GatewayConfiguration
import Testing

@testable import Gateway

@Suite("what a reload changes")
struct ReloadPlanTests {
  private static func options(
    gateway: String = "id: gw-1", field: String = "", central: String = "",
    routes: [String] = [telemetry()], more: String = ""
  ) throws -> GatewayOptions {
    let text = """
      gateway: {\(gateway)}
      brokers:
        field: {url: "mqtt://127.0.0.1:1883"\(field)}
        other: {url: "mqtt://127.0.0.1:1885"}
        third: {url: "mqtt://127.0.0.1:1886"}
        central: {url: "mqtt://127.0.0.1:1884"\(central)}
      routes:
      \(routes.map { "  - {\($0)}" }.joined(separator: "\n"))
      \(more)
      """
    return try Configuration.parse(Array(text.utf8).span, file: "test.yaml").options
  }

  private static func telemetry(
    name: String = "telemetry", from: String = "field", filter: String = "pumps/#",
    more: String = "", to: String = "{name: central, broker: central}"
  ) -> String {
    "name: \(name), from: \(from), subscribe: [\"\(filter)\"], to: [\(to)]\(more)"
  }

  private static func plan(
    _ old: GatewayOptions, _ new: GatewayOptions, ended: Set<String> = [],
    abandonsSessions: Bool = false
  ) throws -> ReloadPlan {
    try ReloadPlan(from: old, to: new, ended: ended, abandonsSessions: abandonsSessions)
  }

  private static func reasons(_ old: GatewayOptions, _ new: GatewayOptions) throws -> [String] {
    do throws(ReloadRefusal) {
      _ = try ReloadPlan(from: old, to: new)
      return []
    } catch {
      return error.reasons
    }
  }

  @Test("the same configuration changes nothing, and neither does the level of the log")
  func same() throws {
    let old = try Self.options()
    #expect(try Self.plan(old, try Self.options()).isEmpty)
    #expect(try Self.plan(old, try Self.options(more: "logging: {level: debug}")).isEmpty)
  }

  @Test("a limit, a destination more and a broker's address change the routes they concern alone")
  func changed() throws {
    let second = Self.telemetry(name: "alarms", from: "other", filter: "alarms/#")
    let old = try Self.options(routes: [Self.telemetry(), second])
    let limit = try Self.options(
      routes: [Self.telemetry(to: "{name: central, broker: central, max_in_flight: 2}"), second])
    var plan = try Self.plan(old, limit)
    #expect(plan.redirected == ["telemetry"], "the route goes on, its destination starts anew")
    #expect(plan.changed.isEmpty && plan.brokers.isEmpty)
    let sink = try Self.options(
      routes: [
        Self.telemetry(
          to: "{name: central, broker: central}, {name: two, broker: third, topic: t}"),
        second,
      ])
    plan = try Self.plan(old, sink)
    #expect(plan.changed == ["telemetry"])
    #expect(plan.brokers == ["third"], "it is a destination now, with a status topic")
    plan = try Self.plan(
      old, try Self.options(field: ", keep_alive: 30s", routes: [Self.telemetry(), second]))
    #expect(plan.changed == ["telemetry"])
    #expect(plan.brokers == ["field"])
    #expect(plan.redirected.isEmpty)
    plan = try Self.plan(
      old, try Self.options(central: ", keep_alive: 30s", routes: [Self.telemetry(), second]))
    #expect(plan.redirected == ["telemetry", "alarms"])
    #expect(plan.changed.isEmpty)
    #expect(plan.brokers == ["central"])
    plan = try Self.plan(
      old, try Self.options(central: ", status_topic: none", routes: [Self.telemetry(), second]))
    #expect(plan.changed.isEmpty && plan.redirected.isEmpty)
    #expect(plan.brokers == ["central"])
    plan = try Self.plan(
      old,
      try Self.options(
        central: ", link: {data_budget: {bytes: 1GiB}}", routes: [Self.telemetry(), second]))
    #expect(plan.links == ["central"])
    plan.links = []
    #expect(plan.isEmpty, "a link changes under its connections")
  }

  @Test("what a destination shares with the journal opens the route again")
  func sinksOfTheJournal() throws {
    let two = "{name: central, broker: central}, {name: two, broker: other, topic: t}"
    let old = try Self.options(routes: [Self.telemetry(to: two)])
    for (to, isChanged) in [
      ("{name: central, broker: central}, {name: two, broker: other, topic: u}", false),
      ("{name: central, broker: other}, {name: two, broker: other, topic: t}", false),
      ("{name: two, broker: other, topic: t}, {name: central, broker: central}", true),
      (
        "{name: central, broker: central}, {name: two, broker: other, topic: t, required: false}",
        true
      ),
      ("{name: central, broker: central}, {name: new, broker: other, topic: t}", true),
    ] {
      let plan = try Self.plan(old, try Self.options(routes: [Self.telemetry(to: to)]))
      #expect(plan.changed == (isChanged ? ["telemetry"] : []), "\(to)")
      #expect(plan.redirected == (isChanged ? [] : ["telemetry"]), "\(to)")
    }
  }

  @Test("every option of the gateway is either the plan's business or refused")
  func complete() throws {
    // A new one needs a place in `checkProcess` or in the plan.
    let names = Mirror(reflecting: try Self.options()).children.compactMap(\.label)
    #expect(
      names == [
        "gatewayID", "site", "dataDirectory", "dataDirectoryIsMount", "brokers", "routes",
        "observability", "logging",
      ])
  }

  @Test("a route more is added, a route less is retired")
  func addedAndRetired() throws {
    let one = try Self.options()
    let two = try Self.options(
      routes: [Self.telemetry(), Self.telemetry(name: "alarms", filter: "alarms/#")])
    var plan = try Self.plan(one, two)
    #expect(plan.added == ["alarms"])
    #expect(plan.retired.isEmpty && plan.changed.isEmpty)
    plan = try Self.plan(two, one)
    #expect(plan.retired == ["alarms"])
    #expect(plan.added.isEmpty && plan.changed.isEmpty)
    // Another route that reads something else is no new name of the old one.
    let three = try Self.options(routes: [Self.telemetry(name: "alarms", filter: "alarms/#")])
    plan = try Self.plan(one, three)
    #expect(plan.retired == ["telemetry"])
    #expect(plan.added == ["alarms"])
  }

  @Test("renaming a route is refused, unless its session may be abandoned")
  func renamed() throws {
    let old = try Self.options()
    let new = try Self.options(routes: [Self.telemetry(name: "metrics", filter: "pumps/+/metrics")])
    let reasons = try Self.reasons(old, new)
    #expect(reasons.count == 1)
    #expect(reasons.first?.contains("--abandon-session") == true)
    // After `penstock drain --end-session` there is no session to leave behind.
    var plan = try Self.plan(old, new, ended: ["telemetry"])
    #expect(plan.retired == ["telemetry"])
    #expect(plan.added == ["metrics"])
    plan = try Self.plan(old, new, abandonsSessions: true)
    #expect(plan.abandoned == ["telemetry"])
    #expect(plan.added == ["metrics"])
    #expect(plan.retired.isEmpty)
  }

  @Test("what is written in journals and sessions, or is the process's, is refused; all at once")
  func refused() throws {
    let old = try Self.options()
    func first(_ new: GatewayOptions) throws -> String { try Self.reasons(old, new).first ?? "" }
    #expect(try first(try Self.options(gateway: "id: gw-2")).hasPrefix("gateway.id: gw-1"))
    #expect(try first(try Self.options(gateway: "id: gw-1, site: s")).hasPrefix("gateway.site"))
    let directory = try Self.options(gateway: "id: gw-1, data_directory: /srv")
    #expect(try first(directory).hasPrefix("gateway.data_directory"))
    #expect(
      try first(try Self.options(routes: [Self.telemetry(more: ", message_id: none")]))
        .hasPrefix("routes.telemetry.message_id"))
    #expect(
      try first(try Self.options(field: ", client_id: another"))
        .hasPrefix("brokers.field.client_id"))
    #expect(
      try first(try Self.options(routes: [Self.telemetry(from: "other")]))
        .hasPrefix("routes.telemetry.from"))
    let several = try Self.options(
      gateway: "id: gw-1, site: s", more: "observability: {listen: none}\nlogging: {format: json}")
    #expect(
      try Self.reasons(old, several).map { String($0.prefix { $0 != ":" }) }
        == ["gateway.site", "observability", "logging.format"])
  }
}
