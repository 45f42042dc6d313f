// What is wrong with a configuration, said so that an editor can jump to it and a person can mend
// it.

/// One finding: where, which key, what is wrong and what is accepted instead.
package struct Diagnostic: Error, Hashable, Sendable, CustomStringConvertible {
  package var file: String
  /// 1-based; 0 when the finding is about the file as a whole.
  package var line: Int
  /// 1-based, in characters; 0 when the finding is about the file as a whole.
  package var column: Int
  /// `routes[0].journal.size`; empty when the finding belongs to no key.
  package var keyPath: String
  package var message: String

  package init(file: String, line: Int, column: Int, keyPath: String, message: String) {
    self.file = file
    self.line = line
    self.column = column
    self.keyPath = keyPath
    self.message = message
  }

  /// `file:line:column: key.path: message`.
  package var description: String {
    var text = file
    if line > 0 { text += ":\(line):\(column)" }
    if !keyPath.isEmpty { text += ": \(keyPath)" }
    return text + ": " + message
  }

  static func precedes(_ left: Diagnostic, _ right: Diagnostic) -> Bool {
    (left.line, left.column, left.keyPath, left.message)
      < (right.line, right.column, right.keyPath, right.message)
  }
}

/// A configuration that cannot be used: every error in it, sorted by position.
package struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Never empty.
  package let diagnostics: [Diagnostic]

  package init(_ diagnostics: [Diagnostic]) {
    precondition(!diagnostics.isEmpty, "a configuration is refused for a reason")
    self.diagnostics = diagnostics.sorted(by: Diagnostic.precedes)
  }

  /// One line per error.
  package var description: String {
    diagnostics.map(\.description).joined(separator: "\n")
  }
}

/// A place in the file, both 1-based; columns count characters.
struct Mark: Hashable, Comparable {
  var line: Int
  var column: Int

  static let start = Mark(line: 1, column: 1)

  static func < (left: Mark, right: Mark) -> Bool {
    (left.line, left.column) < (right.line, right.column)
  }
}
