import Glibc

/// A failed system call: which one, on what, and errno.
package struct SystemError: Error, Hashable, Sendable, CustomStringConvertible {
  package let code: Int32
  package let operation: String

  package init(_ operation: String, code: Int32 = errno) {
    self.code = code
    self.operation = operation
  }

  /// The C library's text for the code.
  package var reason: String {
    guard let text = unsafe strerror(code) else { return "error \(code)" }
    return unsafe String(cString: text)
  }

  package var isMissingFile: Bool { code == ENOENT }

  /// The reader of a pipe or socket went away.
  package var isBrokenPipe: Bool { code == EPIPE }

  /// Somebody listens there already.
  package var isAddressInUse: Bool { code == EADDRINUSE }

  /// No such name, or a name that a dead process left behind.
  package var isNobodyThere: Bool { code == ENOENT || code == ECONNREFUSED }

  package var isNotPermitted: Bool { code == EACCES || code == EPERM }

  package static let connectionReset = ECONNRESET
  package static let messageTooLong = EMSGSIZE
  package static let timedOut = ETIMEDOUT

  package var description: String { "\(operation): \(reason) (errno \(code))" }
}
