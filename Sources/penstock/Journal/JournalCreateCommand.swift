import ArgumentParser
import GatewayConfiguration
import GatewayCore
import Platform
import RingJournal

struct JournalCreateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create",
    abstract: "Create journals ahead of the gateway's first start.",
    discussion: """
      Creates, for each route of the configuration (or the one of --route) that has no journal \
      yet, its file, filled with zeros and synced: what 'penstock run' does at its first start, at \
      a time of your choosing. A journal that is there is left alone.

      A journal that takes the place of a lost one can say so with --previous: the centre is told \
      which journal came before, and how far it is known to have come.

      Examples:
        penstock journal create --config /etc/penstock/penstock.yaml
        penstock journal create --config penstock.yaml --route telemetry --previous old.journal
        penstock journal create --config penstock.yaml --route telemetry --previous \
        7f3c2a10-55aa-4c1e-9a56-0c6d1f6f2b11:81223

      Exit codes: 0 created, or nothing to create · 64 usage · 65 --previous is not a journal · 74 \
      the disk failed · 75 another process is creating it · 78 configuration, space or directory.
      """)

  @Option(
    name: [.short, .long],
    help: ArgumentHelp("The gateway's configuration.", valueName: "file"))
  var config: String
  @Option(help: ArgumentHelp("Only this route.", valueName: "name")) var route: String?
  @Option(
    help: ArgumentHelp(
      "The journal before: its file, or its id and last sequence as ID:LAST. Needs --route.",
      valueName: "journal"))
  var previous: String?
  @Flag(help: "Print one JSON object per route.") var json = false

  func validate() throws {
    if previous != nil && route == nil {
      throw ValidationError("--previous needs --route: one journal follows one journal.")
    }
  }

  func run() throws {
    let options = try load(config).options
    let routes = options.routes.filter { route == nil || $0.name == route }
    guard !routes.isEmpty else {
      let names = options.routes.map(\.name).joined(separator: ", ")
      throw ValidationError("\(config) has no route \(route ?? ""); it has: \(names).")
    }
    let previous = try previousJournal()
    for route in routes { try create(route, previous: previous) }
  }

  private func create(_ route: RouteOptions, previous: PreviousJournal?) throws {
    if POSIXDisk.shared.exists(route.journalPath) {
      guard self.route == nil else {
        throw GatewayCore.ExitCode.configuration.failure(
          "\(route.journalPath) is there already; nothing was touched")
      }
      return report(route, identity: nil)
    }
    var options = route.journal
    options.previous = previous
    var line = ProgressLine()
    defer { line.end() }
    let identity = try reportingJournalErrors { [options] () throws(JournalError) in
      try JournalMaintenance.create(path: route.journalPath, options: options) { progress in
        line.show("\(route.name): \(progress.written) of \(progress.total)")
      }
    }
    line.end()
    report(route, identity: identity)
  }

  private func report(_ route: RouteOptions, identity: JournalIdentity?) {
    guard !json else {
      return Console.line(
        JSONObject {
          $0.put("route", route.name)
          $0.put("file", route.journalPath)
          $0.put("created", identity != nil)
          $0.put("journal", identity.map { "\($0.id)" })
          $0.put("capacity_bytes", identity?.capacity.rawValue)
        }.line)
    }
    if let identity {
      Console.line("\(route.journalPath): created, \(identity.capacity), journal \(identity.id)")
    } else {
      Console.line("\(route.journalPath): there already, left alone")
    }
  }

  private func previousJournal() throws -> PreviousJournal? {
    guard let previous else { return nil }
    if let colon = previous.lastIndex(of: ":"), let last = UInt64(previous[colon...].dropFirst()),
      let id = JournalID(String(previous[..<colon]))
    {
      return PreviousJournal(id: id, lastSequence: Sequence(last))
    }
    let statistics = try reportingJournalErrors { () throws(JournalError) in
      try JournalInspector.statistics(path: previous)
    }
    return PreviousJournal(
      id: statistics.identity.id, lastSequence: statistics.committed)
  }
}
