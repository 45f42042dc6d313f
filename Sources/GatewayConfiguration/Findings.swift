/// Collects what one reading of a configuration finds. Shared by the stages of that reading; one
/// thread, dies with it.
package final class Findings {
  package let file: String
  package private(set) var errors: [Diagnostic] = []
  package private(set) var warnings: [Diagnostic] = []
  /// Where each key that was read stands, by its path.
  private var marks: [String: Mark] = [:]
  /// Every key the schema asked for, list positions written as `[]`: what a reference must
  /// document.
  package private(set) var schemaKeys: Set<String> = []

  package init(file: String) { self.file = file }

  func error(at mark: Mark, _ keyPath: String, _ message: String) {
    errors.append(diagnostic(mark, keyPath, message))
  }

  /// At the place of the key, or of the nearest section around it that is in the file.
  package func error(at keyPath: String, _ message: String) {
    error(at: mark(of: keyPath), keyPath, message)
  }

  package func warning(at keyPath: String, _ message: String) {
    warnings.append(diagnostic(mark(of: keyPath), keyPath, message))
  }

  func place(_ keyPath: String, at mark: Mark) { marks[keyPath] = mark }

  /// Whether the file itself has this key.
  func isPresent(_ keyPath: String) -> Bool { marks[keyPath] != nil }

  func noteSchemaKey(_ keyPath: String) {
    var key = ""
    var isIndex = false
    for character in keyPath {
      if character == "]" { isIndex = false }
      if !isIndex { key.append(character) }
      if character == "[" { isIndex = true }
    }
    schemaKeys.insert(key)
  }

  func adoptSchemaKeys(of other: Findings) { schemaKeys.formUnion(other.schemaKeys) }

  package func sortedWarnings() -> [Diagnostic] { warnings.sorted(by: Diagnostic.precedes) }

  private func diagnostic(_ mark: Mark, _ keyPath: String, _ message: String) -> Diagnostic {
    Diagnostic(
      file: file, line: mark.line, column: mark.column,
      keyPath: Self.shown(keyPath, lengthMax: 240), message: message)
  }

  private func mark(of keyPath: String) -> Mark {
    var path = Substring(keyPath)
    while !path.isEmpty {
      if let mark = marks[String(path)] { return mark }
      guard let separator = path.lastIndex(where: { $0 == "." || $0 == "[" }) else { break }
      path = path[..<separator]
    }
    return .start
  }

  /// The text in quotes, on one line, cut to a readable length.
  package static func quoted(_ text: String) -> String { "\"\(shown(text))\"" }

  /// On one line and cut to a readable length: a file must not be able to steer the terminal.
  package static func shown(_ text: String, lengthMax: Int = 80) -> String {
    var result = ""
    for scalar in text.unicodeScalars.prefix(lengthMax) {
      if CharacterClass.isControl(scalar) {
        result += "\\u{\(String(scalar.value, radix: 16))}"
      } else {
        result.unicodeScalars.append(scalar)
      }
    }
    return text.unicodeScalars.count > lengthMax ? result + "…" : result
  }
}

enum CharacterClass {
  /// C0, DEL, C1, the bidirectional controls and the line separators: nothing a setting needs.
  static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0...0x1F, 0x7F...0x9F, 0x200E...0x200F, 0x2028...0x202E, 0x2066...0x2069: true
    default: false
    }
  }
}
