import ArgumentParser
import GatewayConfiguration
import GatewayCore
import Platform

/// Where a configuration says that a journal is.
struct JournalLocation: ParsableArguments {
  @Option(
    name: [.short, .long],
    help: ArgumentHelp(
      "The gateway's configuration, instead of the journal's path.", valueName: "file"))
  var config: String?

  @Option(
    help: ArgumentHelp(
      "The route of --config; needed when there are several.", valueName: "name"))
  var route: String?

  @Flag(help: "The dead letters of the route of --config, instead of its journal.")
  var deadLetters = false

  func validate() throws {
    if route != nil && config == nil { throw ValidationError("--route needs --config.") }
    if deadLetters && config == nil {
      throw ValidationError("--dead-letters needs --config; or give the path of the .dead file.")
    }
  }

  /// The path of the journal: `file`, or what the configuration says.
  func path(file: String?) throws -> String {
    switch (file, config) {
    case (let file?, nil): return file
    case (nil, let config?):
      let route = try configuredRoute(config)
      return deadLetters ? route.deadLetterPath : route.journalPath
    case (nil, nil):
      throw ValidationError(
        "Which journal? Give its path, or --config FILE and --route NAME.")
    case (_?, _?):
      throw ValidationError("Give the path of the journal or --config, not both.")
    }
  }

  /// The route that `config` and `route` mean.
  func configuredRoute(_ config: String) throws -> RouteOptions {
    let routes = try load(config).options.routes
    let names = routes.map(\.name).joined(separator: ", ")
    guard let route else {
      if routes.count == 1 { return routes[0] }
      throw ValidationError("\(config) has several routes; add --route with one of: \(names).")
    }
    guard let found = routes.first(where: { $0.name == route }) else {
      throw ValidationError("\(config) has no route \(route); it has: \(names).")
    }
    return found
  }
}

/// The journal that a command is about, for commands whose only operand it is.
struct JournalFileArgument: ParsableArguments {
  @Argument(
    help: ArgumentHelp(
      "The journal file, as /var/lib/penstock/telemetry.journal.", valueName: "file"))
  var file: String?

  @OptionGroup var location: JournalLocation

  func path() throws -> String { try location.path(file: file) }
}
