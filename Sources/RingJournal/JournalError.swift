package import Platform

/// What went wrong with a journal, in a sentence that says what to do.
package struct JournalError: Error, Sendable, CustomStringConvertible {
  package struct Code: Hashable, Sendable, CustomStringConvertible {
    private enum Value: String {
      case badOptions, locked, unsafeFilesystem, notEnoughSpace, directoryNotEmpty, journalMissing
      case alreadyThere, sinksUnknown
      case wrongGateway, wrongRoute, foreign, zeros, truncated, newerVersion, damaged
      case recordTooLarge, readFailed, writeFailed, poisoned, closed, createFailed, openFailed,
        cancelled
    }
    private let value: Value
    package var description: String { value.rawValue }

    /// The options contradict themselves or the file.
    package static let badOptions = Code(value: .badOptions)
    /// Another process has the journal open.
    package static let locked = Code(value: .locked)
    /// tmpfs, NFS, vfat: a sync there promises nothing.
    package static let unsafeFilesystem = Code(value: .unsafeFilesystem)
    package static let notEnoughSpace = Code(value: .notEnoughSpace)
    /// First start needs an empty data directory.
    package static let directoryNotEmpty = Code(value: .directoryNotEmpty)
    /// There is state of this route, but not its journal.
    package static let journalMissing = Code(value: .journalMissing)
    package static let wrongGateway = Code(value: .wrongGateway)
    package static let wrongRoute = Code(value: .wrongRoute)
    /// A file is where one should be created.
    package static let alreadyThere = Code(value: .alreadyThere)
    /// The file does not say which sinks it has.
    package static let sinksUnknown = Code(value: .sinksUnknown)
    /// Not a journal of ours.
    package static let foreign = Code(value: .foreign)
    package static let zeros = Code(value: .zeros)
    package static let truncated = Code(value: .truncated)
    package static let newerVersion = Code(value: .newerVersion)
    /// All four copies of the identity are damaged.
    package static let damaged = Code(value: .damaged)
    package static let recordTooLarge = Code(value: .recordTooLarge)
    package static let readFailed = Code(value: .readFailed)
    package static let writeFailed = Code(value: .writeFailed)
    /// An earlier write or sync failed; nothing more is accepted by this process.
    package static let poisoned = Code(value: .poisoned)
    package static let closed = Code(value: .closed)
    package static let createFailed = Code(value: .createFailed)
    package static let openFailed = Code(value: .openFailed)
    /// The caller has changed its mind; nothing is left behind.
    package static let cancelled = Code(value: .cancelled)
  }

  package let code: Code
  package let message: String
  package let cause: SystemError?

  init(_ code: Code, _ message: String, cause: SystemError? = nil) {
    self.code = code
    self.message = message
    self.cause = cause
  }

  package var description: String {
    guard let cause else { return message }
    return "\(message) (\(cause))"
  }
}
