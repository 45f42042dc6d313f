import GatewayConfiguration
import Ingest
import Platform

/// Sessions at source brokers that an earlier run of this gateway left and no route of the
/// configuration resumes: the files beside the journals tell of them. A broker fills such a session
/// until it expires, and what waits in it is received by nobody.
struct LeftSessions: Sendable, Equatable {
  struct Session: Sendable, Equatable {
    /// The route that left it.
    var route: String
    /// A route without a journal that reads the same topics: the old one under another name.
    var successor: String?
  }

  /// By the route's name.
  let sessions: [Session]

  /// Looks into the data directory, before anything is opened.
  init(_ options: GatewayOptions) {
    let known = Set(options.routes.map(\.name))
    let names = File.names(in: options.dataDirectory)
    let files = Set(names)
    let new = options.routes.filter { !files.contains("\($0.name).journal") }
    let suffix = SubscriptionMemory.suffix
    sessions = names.filter { $0.hasSuffix(suffix) }.sorted().compactMap { name in
      let route = String(name.dropLast(suffix.count))
      guard !known.contains(route) else { return nil }
      let memory = SubscriptionMemory(path: "\(options.dataDirectory)/\(name)")
      let filters = memory.subscriptions?.map(\.filter) ?? []
      guard !filters.isEmpty else { return nil }
      return Session(route: route, successor: new.first { $0.reads(anyOf: filters) }?.name)
    }
  }
}
