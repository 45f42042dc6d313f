// `${gateway.id}` and `${env:NAME}` in any value; `$${` stands for `${`. What a variable holds is
// not looked at again, so a value cannot smuggle in a substitution. Messages show the text as
// written, never what a variable held: it may be a secret.

/// What a configuration may take from the machine it is read on. `process` is this process;
/// tests bring their own.
package struct Surroundings: Sendable {
  package var environment: @Sendable (_ name: String) -> String?
  /// A sentence on what is wrong with a file that holds a secret, nil when it is fine.
  package var problemOfSecretFile: @Sendable (_ path: String) -> String?
  /// A sentence on what is wrong with a file that must be readable, nil when it is fine.
  package var problemOfFile: @Sendable (_ path: String) -> String?

  package init(
    environment: @escaping @Sendable (_ name: String) -> String?,
    problemOfSecretFile: @escaping @Sendable (_ path: String) -> String?,
    problemOfFile: @escaping @Sendable (_ path: String) -> String?
  ) {
    self.environment = environment
    self.problemOfSecretFile = problemOfSecretFile
    self.problemOfFile = problemOfFile
  }
}

package struct Substitution {
  let gatewayID: String?
  let surroundings: Surroundings
  let findings: Findings

  static let accepted = "${gateway.id}, ${env:NAME}, or $${ for the two characters"
  static let valueByteCountMax = 65_536

  /// - Parameter gatewayID: what `${gateway.id}` stands for; nil where it is not known.
  package init(gatewayID: String?, surroundings: Surroundings, findings: Findings) {
    self.gatewayID = gatewayID
    self.surroundings = surroundings
    self.findings = findings
  }

  /// Resolves every scalar below `node`. What cannot be resolved is reported and marked broken.
  package func resolve(_ node: inout YAMLNode, path: String = "") {
    switch node.content {
    case .scalar(var scalar):
      resolve(&scalar, mark: node.mark, path: path)
      node.content = .scalar(scalar)
    case .sequence(var elements):
      for index in elements.indices { resolve(&elements[index], path: "\(path)[\(index)]") }
      node.content = .sequence(elements)
    case .mapping(var entries):
      for index in entries.indices {
        let key = entries[index].key
        resolve(&entries[index].value, path: path.isEmpty ? key : "\(path).\(key)")
      }
      node.content = .mapping(entries)
    }
  }

  func resolve(_ scalar: inout YAMLScalar, mark: Mark, path: String) {
    guard !scalar.isBroken, scalar.source.utf8.contains(UInt8(ascii: "$")) else { return }
    var result = ""
    var rest = Substring(scalar.source)
    while let dollar = rest.firstIndex(of: "$") {
      result += rest[..<dollar]
      let tail = rest[dollar...]
      if tail.hasPrefix("$${") {
        result += "${"
        rest = tail.dropFirst(3)
      } else if tail.hasPrefix("${") {
        let place = position(of: dollar, in: scalar, mark: mark)
        guard let end = tail.firstIndex(of: "}") else {
          findings.error(at: place, path, "${ without its }; accepted: \(Self.accepted)")
          scalar.isBroken = true
          return
        }
        let name = tail[..<end].dropFirst(2)
        switch value(of: name, at: path) {
        case .value(let value): result += value
        case .problem(let problem):
          if let problem { findings.error(at: place, path, problem) }
          scalar.isBroken = true
        }
        rest = tail[end...].dropFirst()
      } else {
        result.append("$")
        rest = tail.dropFirst()
      }
    }
    scalar.text = result + rest
  }

  private enum Outcome {
    case value(String)
    /// Nil when the reason was reported elsewhere.
    case problem(String?)
  }

  private func value(of name: Substring, at path: String) -> Outcome {
    if name == "gateway.id" {
      if path == "gateway.id" { return .problem("the id cannot refer to itself") }
      // Without an id there is an error at gateway.id already.
      return gatewayID.map { .value($0) } ?? .problem(nil)
    }
    guard let variable = Self.variableName(name) else {
      // A literal password may contain `${`: it is refused later, and not repeated here.
      let shown = path.hasSuffix(".password") ? "…" : Findings.shown(String(name))
      return .problem("${\(shown)} is not known; accepted: \(Self.accepted)")
    }
    guard let value = surroundings.environment(variable) else {
      return .problem(
        "the environment variable \(variable) is not set; set it for the service "
          + "(systemd: Environment= or EnvironmentFile=) or write the value here")
    }
    guard value.utf8.count <= Self.valueByteCountMax else {
      return .problem(
        "the environment variable \(variable) is longer than \(Self.valueByteCountMax) bytes")
    }
    return .value(value)
  }

  /// `NAME` of `env:NAME`.
  private static func variableName(_ text: Substring) -> String? {
    guard text.hasPrefix("env:") else { return nil }
    let name = text.dropFirst(4)
    guard let first = name.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first),
      name.utf8.allSatisfy({ Identifier.isWordByte($0) || $0 == UInt8(ascii: "_") })
    else { return nil }
    return String(name)
  }

  /// The variable of a text that is one `${env:NAME}` and nothing else.
  static func soleVariable(_ source: String) -> String? {
    guard source.hasPrefix("${"), source.hasSuffix("}") else { return nil }
    return variableName(source.dropFirst(2).dropLast())
  }

  private func position(of index: String.Index, in scalar: YAMLScalar, mark: Mark) -> Mark {
    guard scalar.hasExactColumns else { return mark }
    let offset = scalar.source.unicodeScalars.distance(
      from: scalar.source.unicodeScalars.startIndex, to: index)
    return Mark(line: mark.line, column: mark.column + offset + (scalar.isPlain ? 0 : 1))
  }
}

enum Identifier {
  static let accepted = "letters, digits, _ and -"

  static func isWordByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: false
    }
  }

  /// `[A-Za-z0-9_-]{1,byteCountMax}`.
  static func isValid(_ text: String, byteCountMax: Int) -> Bool {
    (1...byteCountMax).contains(text.utf8.count)
      && text.utf8.allSatisfy {
        isWordByte($0) || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-")
      }
  }
}
