import GatewayCore
import Platform

/// What an operator may do to a journal that no gateway has open. Each call takes the lock of the
/// file, recovers it as a start of the gateway would, does its work, and leaves it cleanly stopped.
/// Whatever moment it is interrupted at, the file is as before or as asked for.
package enum JournalMaintenance {
  /// Creates a journal ahead of its first start.
  /// - Throws: `alreadyThere` when there is a file at `path`, and what `Journal.open` throws.
  package static func create(
    path: String, options: JournalOptions, environment: JournalEnvironment = .posix,
    progress: (CreateProgress) -> Void = { _ in }
  ) throws(JournalError) -> JournalIdentity {
    guard !environment.disk.exists(path) else {
      throw JournalError(
        .alreadyThere, "\(path) is there already; nothing was touched")
    }
    var journal = try Journal.open(
      path: path, options: options, environment: environment, progress: progress)
    try journal.writer.close()
    return journal.state.identity
  }

  /// What opening the file as it is needs, taken from the file itself.
  /// - Parameter sinks: their names, for a file whose superblocks are both lost.
  /// - Throws: `sinksUnknown` when neither the file nor the caller knows them.
  static func options(
    of path: String, sinks: [JournalSink], environment: JournalEnvironment
  ) throws(JournalError) -> JournalOptions {
    let file: any DiskFile
    do throws(SystemError) {
      file = try environment.disk.open(path, .readOnly)
    } catch {
      throw JournalError(.openFailed, "\(path) cannot be opened for reading", cause: error)
    }
    let blocks = try ControlBlocks.read(file, path: path, environment: environment)
    let known =
      blocks.superblock?.sinks.map { JournalSink(name: $0.name, required: $0.isRequired) } ?? sinks
    guard !known.isEmpty else {
      throw JournalError(
        .sinksUnknown,
        "\(path): both superblocks are lost, and with them the names of its destinations; name "
          + "the configuration that it belongs to, or start the gateway, which repairs it")
    }
    var options = JournalOptions(
      gatewayID: blocks.identity.gatewayID, routeName: blocks.identity.routeName, sinks: known)
    options.capacity = ByteCount(blocks.identity.capacity)
    return options
  }

  static func open(
    path: String, sinks: [JournalSink], environment: JournalEnvironment
  ) throws(JournalError) -> OpenedJournal {
    guard environment.disk.exists(path) else {
      throw JournalError(.openFailed, "there is no journal at \(path)")
    }
    let options = try options(of: path, sinks: sinks, environment: environment)
    return try Journal.open(path: path, options: options, environment: environment)
  }
}
