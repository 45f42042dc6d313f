import ArgumentParser
import GatewayCore
import Platform
import RingJournal

extension JournalError {
  /// How a `penstock journal` command ends on this error: it looks at a file, where `run` would
  /// look at its configuration.
  var commandExitCode: GatewayCore.ExitCode {
    switch code {
    case .foreign, .zeros, .truncated, .newerVersion, .damaged: .data
    case .locked: .busy
    default: exitCode
    }
  }
}

/// Runs the work of a `penstock journal` command; an error of the journal becomes its message on
/// standard error and its exit code.
func reportingJournalErrors<Success: ~Copyable>(
  _ body: () throws(JournalError) -> Success
) throws -> Success {
  do throws(JournalError) {
    return try body()
  } catch {
    throw error.commandExitCode.failure("\(error)")
  }
}
