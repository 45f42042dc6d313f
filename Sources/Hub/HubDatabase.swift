import GatewayConfiguration

/// Which database a hub's is, by the text that names it.
package struct HubDatabase: Sendable {
  package enum Access: Sendable {
    /// A hub: made and brought up to date where that is needed.
    case write
    /// Nobody else may write meanwhile.
    case exclusive
    /// Beside a hub that runs, or without one.
    case read
  }

  private enum Kind: Sendable {
    case sqlite(path: String)
    case postgres(PostgresOptions)
  }

  private let kind: Kind

  /// - Throws: `.foreign` for a URL that is none.
  package init(_ text: String, passwordFile: String? = nil) throws(HubStoreError) {
    guard PostgresURL.recognises(text) else {
      kind = .sqlite(path: text)
      return
    }
    do throws(Rejection) {
      kind = .postgres(
        PostgresOptions(url: try PostgresURL(text), passwordFile: passwordFile))
    } catch {
      throw HubStoreError(.foreign, "the URL of the database \(error.reason)")
    }
  }

  /// - Throws: what the store says; a PostgreSQL that is away is no error for `.write`.
  package func open(_ access: Access) throws(HubStoreError) -> any HubStore {
    switch kind {
    case .sqlite(let path):
      // One writer at a time, always.
      try SQLiteStore(path: path, access: access == .read ? .read : .write)
    case .postgres(let options):
      switch access {
      case .write: try PostgresStore(options, access: .shared)
      case .exclusive: try PostgresStore(options, access: .exclusive)
      case .read: try PostgresStore(options, access: .read)
      }
    }
  }
}
