// How a text becomes a value, and what to tell a person when it does not. Each kind says what it
// accepts; the sentence after "accepted:" in every error comes from here.

package import GatewayCore

/// Why a text is not a value of its kind. Never contains the text itself: it may be a secret.
package struct Rejection: Error {
  package let reason: String
  /// The text may hold a secret even as written: it is not shown.
  let hidesText: Bool

  package init(_ reason: String, hidesText: Bool = false) {
    self.reason = reason
    self.hidesText = hidesText
  }
}

/// One kind of scalar.
package struct ScalarKind<Value> {
  package let accepted: String
  package let read: (_ text: String) throws(Rejection) -> Value

  /// - Parameters:
  ///   - accepted: what stands behind "accepted:" in errors.
  ///   - read: the value, or what is wrong with the text.
  package init(
    accepted: String, read: @escaping (_ text: String) throws(Rejection) -> Value
  ) {
    self.accepted = accepted
    self.read = read
  }
}

extension ScalarKind where Value == Bool {
  package static var boolean: ScalarKind {
    ScalarKind(accepted: "true or false") { (text) throws(Rejection) in
      switch text {
      case "true": return true
      case "false": return false
      default: throw Rejection("is not a truth value")
      }
    }
  }
}

extension ScalarKind where Value == Int {
  package static func integer(_ range: ClosedRange<Int>) -> ScalarKind {
    let accepted = "a whole number from \(range.lowerBound) to \(range.upperBound)"
    return ScalarKind(accepted: accepted) { (text) throws(Rejection) in
      guard !text.isEmpty, text.utf8.allSatisfy(Quantity.isDigit) else {
        throw Rejection("is not a whole number")
      }
      guard let value = Int(text), value <= range.upperBound else {
        throw Rejection("is too large")
      }
      guard value >= range.lowerBound else { throw Rejection("is too small") }
      return value
    }
  }
}

extension ScalarKind where Value == Duration {
  /// Limits are whole nanoseconds.
  package static func duration(_ range: ClosedRange<Duration>) -> ScalarKind {
    let lower = Quantity.text(range.lowerBound)
    let upper = Quantity.text(range.upperBound)
    let accepted = "a duration from \(lower) to \(upper) in ms, s, m, h or d"
    return ScalarKind(accepted: accepted) { (text) throws(Rejection) in
      let value = try Quantity.duration(text)
      guard value >= range.lowerBound else { throw Rejection("is too short") }
      guard value <= range.upperBound else { throw Rejection("is too long") }
      return value
    }
  }

  /// MQTT counts this one in whole seconds.
  package static func wholeSeconds(_ range: ClosedRange<Duration>) -> ScalarKind {
    let base = duration(range)
    return ScalarKind(accepted: base.accepted + ", whole seconds") { (text) throws(Rejection) in
      let value = try base.read(text)
      guard value.nanoseconds % 1_000_000_000 == 0 else {
        throw Rejection("is not a whole number of seconds")
      }
      return value
    }
  }
}

extension ScalarKind where Value == ByteCount {
  package static func byteCount(_ range: ClosedRange<ByteCount>, multipleOf: Int = 1) -> ScalarKind
  {
    var accepted = "a size from \(range.lowerBound) to \(range.upperBound)"
    accepted += " in B, kB, MB, GB, KiB, MiB or GiB"
    if multipleOf > 1 { accepted += ", a multiple of \(ByteCount(multipleOf))" }
    return ScalarKind(accepted: accepted) { (text) throws(Rejection) in
      let value = try Quantity.byteCount(text)
      guard value >= range.lowerBound else { throw Rejection("is too small") }
      guard value <= range.upperBound else { throw Rejection("is too large") }
      guard value.rawValue % multipleOf == 0 else {
        throw Rejection("is not a multiple of \(ByteCount(multipleOf))")
      }
      return value
    }
  }
}

extension ScalarKind where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
  /// One of the names of an enumeration.
  package static var choice: ScalarKind {
    let names = Value.allCases.map(\.rawValue)
    return ScalarKind(accepted: names.joined(separator: ", ")) { (text) throws(Rejection) in
      guard let value = Value(rawValue: text) else {
        if let near = Suggestion.nearest(to: text, among: names) {
          throw Rejection("is not known; did you mean \(near)?")
        }
        throw Rejection("is not known")
      }
      return value
    }
  }
}

extension ScalarKind where Value == String {
  package static func identifier(byteCountMax: Int) -> ScalarKind {
    let accepted = "1 to \(byteCountMax) of \(Identifier.accepted)"
    return ScalarKind(accepted: accepted) { (text) throws(Rejection) in
      guard Identifier.isValid(text, byteCountMax: byteCountMax) else {
        throw Rejection(
          text.utf8.count > byteCountMax ? "is too long" : "has characters that are not accepted")
      }
      return text
    }
  }

  /// Text without control characters.
  package static func text(_ what: String, byteCounts: ClosedRange<Int>) -> ScalarKind {
    let accepted =
      "\(what), \(byteCounts.lowerBound) to \(byteCounts.upperBound) bytes "
      + "without control characters"
    return ScalarKind(accepted: accepted) { (text) throws(Rejection) in
      guard text.utf8.count >= byteCounts.lowerBound else { throw Rejection("is too short") }
      guard text.utf8.count <= byteCounts.upperBound else { throw Rejection("is too long") }
      guard !text.unicodeScalars.contains(where: CharacterClass.isControl) else {
        throw Rejection("has control characters")
      }
      return text
    }
  }

  /// An absolute path: a service has no meaningful working directory.
  package static func path(_ what: String) -> ScalarKind {
    let base = text("the absolute path of \(what)", byteCounts: 1...pathByteCountMax)
    return ScalarKind(accepted: base.accepted) { (text) throws(Rejection) in
      guard text.hasPrefix("/") else {
        throw Rejection("is not an absolute path (${env:PWD}/name is one)")
      }
      return try base.read(text)
    }
  }

  /// PATH_MAX less the names we append.
  static var pathByteCountMax: Int { 3_800 }
}

extension ScalarKind {
  /// The kind, or `none` for nil.
  package func orNone(_ word: String) -> ScalarKind<Value?> {
    ScalarKind<Value?>(accepted: "\(word), or \(accepted)") { (text) throws(Rejection) in
      text == word ? nil : try self.read(text)
    }
  }
}

/// "Did you mean".
enum Suggestion {
  /// The candidate with the fewest edits, when that is few enough to be a slip of the keyboard.
  static func nearest(to text: String, among candidates: [String]) -> String? {
    let bytes = Array(text.utf8)
    guard bytes.count <= 64 else { return nil }
    var best: (candidate: String, distance: Int)?
    for candidate in candidates {
      let distance = editDistance(bytes, Array(candidate.utf8))
      let isNear = distance <= max(1, min(3, candidate.utf8.count / 3))
      if isNear, distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    return best?.candidate
  }

  /// Levenshtein, and two letters that changed places are one edit; letters that differ in case
  /// only count as equal, `-` as `_`.
  private static func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
    func fold(_ byte: UInt8) -> UInt8 {
      switch byte {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte | 0x20
      case UInt8(ascii: "-"): UInt8(ascii: "_")
      default: byte
      }
    }
    var older: [Int] = []
    var previous = Array(0...right.count)
    for (row, byte) in left.enumerated() {
      var current = [row + 1]
      for (column, other) in right.enumerated() {
        let change = previous[column] + (fold(byte) == fold(other) ? 0 : 1)
        var cost = min(change, previous[column + 1] + 1, current[column] + 1)
        if row > 0, column > 0, fold(byte) == fold(right[column - 1]),
          fold(left[row - 1]) == fold(other)
        {
          cost = min(cost, older[column - 1] + 1)
        }
        current.append(cost)
      }
      (older, previous) = (previous, current)
    }
    return previous[right.count]
  }
}
