import GatewayCore
import Glibc
import Platform
import Synchronization

/// A real PostgreSQL server for one suite: own cluster, Unix socket and loopback port, with fsync
/// as in life. Refuses nobody on the socket; over TCP the user `secret` needs a password. Goes with
/// its owner, whichever way that ends.
///
/// The server refuses to run as root: it is then started as `postgres` or `nobody`.
package final class PostgresServer: Sendable {
  package static let user = "hub"
  package static let passwordUser = "secret"
  package static let password = "pa:ss w@rd"

  package let port: UInt16
  private let directory: TemporaryDirectory
  private let process = Mutex<ChildProcess?>(nil)
  private let databaseCount = Atomic<Int>(0)

  /// Why there can be none here; nil: there can.
  package static var problem: String? {
    if programs == nil { return "PostgreSQL is not installed: apt-get install postgresql" }
    if geteuid() == 0, substitute == nil { return "no user to run PostgreSQL as" }
    return nil
  }

  package static var isInstalled: Bool { problem == nil }

  /// The directory of the newest version's programs, which are not in PATH on Debian.
  private static var programs: String? {
    let versions = File.names(in: "/usr/lib/postgresql").compactMap { Int($0) }.sorted()
    let directories = versions.reversed().map { "/usr/lib/postgresql/\($0)/bin" }
    return directories.first { (try? FileStatus(path: $0 + "/initdb")) != nil }
      ?? Environment.executable(named: "initdb").map(File.directoryName)
  }

  /// Whom root runs the server as.
  private static var substitute: (name: String, user: uid_t, group: gid_t)? {
    for name in ["postgres", "nobody"] {
      guard let entry = unsafe getpwnam(name) else { continue }
      return unsafe (name, entry.pointee.pw_uid, entry.pointee.pw_gid)
    }
    return nil
  }

  /// Makes a cluster and starts it.
  /// - Parameter lines: of postgresql.conf, to add.
  package init(_ lines: [String] = []) throws {
    directory = try TemporaryDirectory(prefix: "penstock-postgres")
    port = try Loopback.freePort()
    if geteuid() == 0, let other = Self.substitute {
      guard unsafe chown(directory.path, other.user, other.group) == 0 else {
        throw TestFailure("chown of \(directory.path)")
      }
    }
    try run(
      "initdb",
      ["-D", data, "-U", Self.user, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"])
    let path = directory.path
    let settings =
      [
        "listen_addresses = '127.0.0.1'", "port = \(port)", "unix_socket_directories = '\(path)'",
        "wal_level = logical", "max_connections = 40", "shared_buffers = 32MB",
        "max_wal_senders = 8", "max_replication_slots = 16", "max_wal_size = 256MB",
        "fsync = on", "full_page_writes = on", "log_min_messages = warning",
        "wal_receiver_status_interval = 1", "password_encryption = scram-sha-256",
      ] + lines
    try append(settings, to: data + "/postgresql.conf")
    try overwrite(
      data + "/pg_hba.conf",
      Array(
        """
        local all,replication all trust
        local replication all trust
        host all \(Self.passwordUser) 127.0.0.1/32 scram-sha-256
        host all all 127.0.0.1/32 trust
        host replication all 127.0.0.1/32 trust

        """.utf8))
    try start()
  }

  deinit {
    // An orderly end leaves no process behind that still writes into the directory.
    process.withLock { if $0 != nil { _ = try? $0?.stop(signal: SIGQUIT, atMost: .seconds(20)) } }
  }

  private var data: String { directory.path + "/data" }
  /// What the server has logged, over all its starts.
  package var log: String {
    guard let bytes = try? File.readSmall(directory.path + "/log", byteCountMax: 64 << 20) else {
      return ""
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private func append(_ lines: [String], to path: String) throws {
    var bytes = try File.readSmall(path, byteCountMax: 1 << 20)
    bytes += Array((lines.joined(separator: "\n") + "\n").utf8)
    try overwrite(path, bytes)
  }

  /// In place, so that the file's owner stays.
  private func overwrite(_ path: String, _ bytes: [UInt8]) throws {
    let file = try File.open(path, flags: O_WRONLY | O_TRUNC, mode: 0o600)
    guard unsafe write(file.raw, bytes, bytes.count) == bytes.count else {
      throw TestFailure("write \(path)")
    }
  }

  // MARK: - Its programs

  /// The program itself, or one that becomes it as another user.
  private func command(_ program: String, _ arguments: [String]) throws -> (String, [String]) {
    guard let programs = Self.programs else { throw TestFailure(Self.problem ?? "") }
    let path = "\(programs)/\(program)"
    guard geteuid() == 0, let other = Self.substitute,
      let wrapper = Environment.executable(named: "setpriv")
    else { return (path, arguments) }
    return (
      wrapper,
      ["--reuid=\(other.user)", "--regid=\(other.group)", "--clear-groups", "--", path] + arguments
    )
  }

  private func run(_ program: String, _ arguments: [String]) throws {
    let (executable, arguments) = try command(program, arguments)
    let output = directory.path + "/output"
    var child = try ChildProcess(
      executable: executable, arguments: arguments, standardOutput: .file(path: output),
      standardError: .file(path: output))
    guard try child.wait(atMost: .seconds(60)) == .exited(code: 0) else {
      let text = (try? File.readSmall(output, byteCountMax: 1 << 20)) ?? []
      throw TestFailure("\(program) failed: \(String(decoding: text, as: UTF8.self))")
    }
  }

  /// Runs statements by psql; what they answer, without decoration.
  @discardableResult
  package func query(_ sql: String, database: String = "postgres") throws -> String {
    let output = "\(directory.path)/psql-\(databaseCount.add(1, ordering: .relaxed).newValue)"
    guard let programs = Self.programs else { throw TestFailure(Self.problem ?? "") }
    var child = try ChildProcess(
      executable: "\(programs)/psql",
      arguments: [
        "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql,
        "postgresql://\(Self.user)@127.0.0.1:\(port)/\(database)",
      ], standardOutput: .file(path: output), standardError: .file(path: output))
    let status = try child.wait(atMost: .seconds(60))
    let text = String(decoding: try File.readSmall(output, byteCountMax: 16 << 20), as: UTF8.self)
    guard status == .exited(code: 0) else { throw TestFailure("psql: \(text)") }
    return text.split(separator: "\n").joined(separator: "\n")
  }

  /// A database of its own, empty; its URL, by the socket.
  package func makeDatabase(_ name: String? = nil) throws -> String {
    let name = name ?? "hub\(databaseCount.add(1, ordering: .relaxed).newValue)"
    try query("CREATE DATABASE \"\(name)\"")
    return url(name)
  }

  package func url(_ database: String) -> String {
    let socket = directory.path.split(separator: "/").joined(separator: "%2F")
    return "postgres://\(Self.user)@%2F\(socket):\(port)/\(database)"
  }

  // MARK: - Life and death

  package func start() throws {
    var child: ChildProcess? = try launch()
    let deadline = Deadline(in: .seconds(60))
    while (try? query("SELECT 1")) != "1" {
      if deadline.isOver { throw TestFailure("PostgreSQL did not start: \(log.suffix(3000))") }
      // A process of the life before may still hold the memory.
      if try child?.wait(atMost: .milliseconds(20)) != nil { child = try launch() }
    }
    process.withLock { swap(&$0, &child) }
  }

  private func launch() throws -> ChildProcess {
    let (executable, arguments) = try command("postgres", ["-D", data])
    let log = directory.path + "/log"
    return try ChildProcess(
      executable: executable, arguments: arguments, standardOutput: .file(path: log),
      standardError: .file(path: log))
  }

  /// SIGKILL of the server and all its processes, as when the power goes.
  package func kill() throws {
    try process.withLock { process in
      guard var child = process.take() else { return }
      let children =
        (try? File.readSmall(
          "/proc/\(child.id)/task/\(child.id)/children", byteCountMax: 65_536)) ?? []
      let ids = String(decoding: children, as: UTF8.self).split(separator: " ").compactMap {
        Int32($0)
      }
      _ = try child.kill()
      for id in ids { _ = Glibc.kill(id, SIGKILL) }
      // Its memory must be free before the next start.
      let deadline = Deadline(in: .seconds(20))
      while ids.contains(where: { Glibc.kill($0, 0) == 0 && !Self.isZombie($0) }) {
        if deadline.isOver { throw TestFailure("processes of PostgreSQL are still there") }
        _ = poll(nil, 0, 2)
      }
    }
  }

  private static func isZombie(_ id: Int32) -> Bool {
    guard let bytes = try? File.readSmall("/proc/\(id)/stat", byteCountMax: 4096) else {
      return true
    }
    return String(decoding: bytes, as: UTF8.self).contains(") Z ")
  }

  /// An end in order: connections are cut, nothing is lost.
  package func stop() throws {
    try process.withLock { process in
      guard var child = process.take() else { return }
      _ = try child.stop(signal: SIGINT, atMost: .seconds(60))
    }
  }

  /// SIGSTOP and SIGCONT to all processes: a server that is there and says nothing.
  package func send(signal: Int32) {
    process.withLock { process in
      guard let id = process?.id else { return }
      let children =
        (try? File.readSmall(
          "/proc/\(id)/task/\(id)/children", byteCountMax: 65_536)) ?? []
      for child in String(decoding: children, as: UTF8.self).split(separator: " ") {
        if let child = Int32(child) { _ = Glibc.kill(child, signal) }
      }
      process?.send(signal: signal)
    }
  }
}
