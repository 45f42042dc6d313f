package import GatewayConfiguration
import GatewayCore
import Platform

/// How a hub's PostgreSQL is reached.
package struct PostgresOptions: Sendable, Hashable {
  package var url: PostgresURL
  /// Read at each connect; nil: libpq looks for `PGPASSFILE`, `passfile=` and the like.
  package var passwordFile: String?
  /// For one connection to be made.
  package var connectLimit: Duration = .seconds(10)
  /// How long the server may say nothing while it owes an answer: below a watchdog's period.
  package var patience: Duration = .seconds(30)

  package init(url: PostgresURL, passwordFile: String? = nil) {
    self.url = url
    self.passwordFile = passwordFile
  }

  private static let passwordByteCountMax = 65_536

  /// libpq's keywords. What is above the URL may be said otherwise in it, what is below may not.
  func parameters(_ purpose: String, replication: Bool = false) throws(PostgresError)
    -> [(name: String, value: String)]
  {
    var parameters: [(name: String, value: String)] = [
      ("keepalives_idle", "15"), ("keepalives_interval", "5"), ("keepalives_count", "3"),
      ("tcp_user_timeout", "\(patience.nanoseconds / 1_000_000)"),
    ]
    if !url.isLocal { parameters.append(("sslmode", "verify-full")) }
    parameters += [
      ("dbname", url.text), ("client_encoding", "UTF8"),
      ("application_name", "penstock-hub \(purpose)"),
    ]
    if replication { parameters.append(("replication", "database")) }
    if let password = try password() { parameters.append(("password", password)) }
    return parameters
  }

  /// One trailing newline of the file is cut.
  private func password() throws(PostgresError) -> String? {
    guard let passwordFile else { return nil }
    var bytes: [UInt8]
    do throws(SystemError) {
      bytes = try File.readSmall(passwordFile, byteCountMax: Self.passwordByteCountMax)
    } catch {
      throw PostgresError(state: "", detail: "\(error)")
    }
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    guard !bytes.contains(0) else {
      throw PostgresError(state: "", detail: "\(passwordFile) contains a NUL byte")
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
