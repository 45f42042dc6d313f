import ArgumentParser
import GatewayConfiguration
import GatewayCore
import Hub
import JSONScanning
import Platform

/// Columns for people: as wide as the widest cell, two spaces apart. A title that begins with `>`
/// stands on the right, with its cells.
struct Table {
  private let isRight: [Bool]
  private var rows: [[String]]

  init(_ titles: String...) {
    isRight = titles.map { $0.hasPrefix(">") }
    rows = [titles.map { $0.hasPrefix(">") ? String($0.dropFirst()) : $0 }]
  }

  mutating func add(_ cells: String...) {
    precondition(cells.count == isRight.count, "a cell for each column")
    rows.append(cells.map(Self.harmless))
  }

  func show() {
    let widths = isRight.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    for cells in rows {
      var line = ""
      for (column, cell) in cells.enumerated() {
        if column > 0 { line += "  " }
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        line += isRight[column] ? padding + cell : cell + padding
      }
      while line.last == " " { line.removeLast() }
      Console.line(line)
    }
  }

  /// Text of strangers must not steer the terminal.
  private static func harmless(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar.value {
      case 0..<0x20, 0x7f...0x9f, 0x200b...0x200f, 0x2028...0x202e, 0x2060...0x206f, 0xfeff:
        result += "\\u{\(String(scalar.value, radix: 16))}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}

/// One JSON object, member by member: a line of `--json`.
struct JSONLine {
  private var text: [UInt8] = [UInt8(ascii: "{")]

  init(_ build: (inout JSONLine) -> Void) {
    build(&self)
    text.append(UInt8(ascii: "}"))
  }

  func show() { Console.line(String(decoding: text, as: UTF8.self)) }

  mutating func put(_ name: String, _ value: String?) {
    key(name)
    guard let value else { return text.append(ascii: "null") }
    JSONString.append(value, to: &text)
  }

  mutating func put(_ name: String, _ value: some BinaryInteger) { put(name, raw: "\(value)") }
  mutating func put(_ name: String, _ value: Double) { put(name, raw: "\(value)") }
  mutating func put(_ name: String, _ value: Bool) { put(name, raw: "\(value)") }

  mutating func put(_ name: String, _ values: [String]) {
    key(name)
    text.append(UInt8(ascii: "["))
    for (index, value) in values.enumerated() {
      if index > 0 { text.append(UInt8(ascii: ",")) }
      JSONString.append(value, to: &text)
    }
    text.append(UInt8(ascii: "]"))
  }

  /// A value that is JSON already; null when there is none.
  mutating func put(_ name: String, json value: [UInt8]) {
    key(name)
    text.append(contentsOf: value.isEmpty ? Array("null".utf8) : value)
  }

  private mutating func put(_ name: String, raw value: String) {
    key(name)
    text.append(utf8: value)
  }

  private mutating func key(_ name: String) {
    if text.count > 1 { text.append(UInt8(ascii: ",")) }
    JSONString.append(name, to: &text)
    text.append(UInt8(ascii: ":"))
  }
}

/// Which database a command looks into.
struct DatabaseArguments: ParsableArguments {
  @Option(name: [.short, .long], help: "The hub's configuration file.") var config: String?
  @Option(help: "The database itself, a file or postgres://…, instead of --config.")
  var database: String?
  @Flag(help: "One JSON object a line.") var json = false

  func validate() throws {
    guard (config == nil) != (database == nil) else {
      throw ValidationError("one of --config and --database is needed")
    }
  }

  func open(_ access: HubDatabase.Access = .read) throws -> any HubStore {
    if let database { return try HubDatabase(database).open(access) }
    let settings = try load(config ?? "").settings
    return try HubDatabase(settings.database, passwordFile: settings.databasePasswordFile)
      .open(access)
  }

  var staleAfter: Duration {
    guard let config, let settings = try? load(config).settings else { return .seconds(60) }
    return settings.staleAfter
  }
}
