import GatewayCore

/// Columns for people: as wide as the widest cell, two spaces apart, numbers on the right.
struct TextTable {
  private let isRight: [Bool]
  private var rows: [[String]]

  /// A title that begins with `>` stands on the right, with its cells.
  init(_ titles: [String]) {
    isRight = titles.map { $0.hasPrefix(">") }
    rows = [titles.map { $0.hasPrefix(">") ? String($0.dropFirst()) : $0 }]
  }

  mutating func add(_ cells: [String]) {
    precondition(cells.count == isRight.count, "a cell for each column")
    rows.append(cells)
  }

  var isEmpty: Bool { rows.count == 1 }

  /// Lines without their ends; the titles first.
  var lines: [String] {
    let widths = isRight.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { cells in
      var line = ""
      for (column, cell) in cells.enumerated() {
        if column > 0 { line += "  " }
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        line += isRight[column] ? padding + cell : cell + padding
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }
}

/// Text of strangers on one line, harmless to a terminal.
enum Printable {
  /// Control bytes become \xNN, what is not UTF-8 becomes U+FFFD.
  static func text(_ bytes: Span<UInt8>) -> String { text(String(decoding: bytes)) }

  static func text(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar.value {
      case 0x00..<0x09, 0x0a..<0x20, 0x7f...0x9f:
        let digits = String(scalar.value, radix: 16)
        result += "\\x" + (digits.utf8.count < 2 ? "0" : "") + digits
      // Invisible, or turning the direction of what follows.
      case 0x200b...0x200f, 0x2028...0x202e, 0x2060...0x206f, 0xfeff:
        result += "\\u{\(String(scalar.value, radix: 16))}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
