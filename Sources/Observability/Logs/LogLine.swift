import GatewayCore
import Logging

// One log event as one line, in either format:
//
//   2026-11-23T06:00:00.123Z info  ingest: message key=value other="a b"
//   {"time":"2026-11-23T06:00:00.123Z","level":"info","logger":"ingest","message":"…","key":"v"}
//
// Under journald the text line has `<6>` instead of the time. Whatever a stranger put into a topic
// or a reason string stays inside its line: control and direction characters are escaped, each part
// and the whole line have a limit.

enum LogLine {
  /// Bytes of a whole line, newline included.
  static let byteCountMax = 8192
  static let messageByteCountMax = 1024
  static let valueByteCountMax = 1024
  static let keyByteCountMax = 64
  /// For the mark of a cut line. Escaping grows a byte to at most six (`\u{1b}`, `\u001b`), so that
  /// label and message alone never fill a line.
  private static let reserveByteCount = 64

  static func bytes(
    level: Logger.Level, label: String, message: String,
    metadata: [(key: String, value: String)], time: WallTime, style: LogStyle
  ) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(256)
    if style.priorityPrefix {
      bytes.append(UInt8(ascii: "<"))
      bytes.append(decimal: level.journalPriority)
      bytes.append(UInt8(ascii: ">"))
    }
    let label = cut(label, byteCountMax: keyByteCountMax)
    let message = cut(message, byteCountMax: messageByteCountMax)
    switch style.format {
    case .text:
      appendText(level, label, message, metadata, time: time, style: style, to: &bytes)
    case .json:
      appendJSON(level, label, message, metadata, time: time, to: &bytes)
    }
    bytes.append(UInt8(ascii: "\n"))
    return bytes
  }

  /// `text`, or its beginning and an ellipsis.
  private static func cut(_ text: String, byteCountMax: Int) -> String {
    guard text.utf8.count > byteCountMax else { return text }
    return TextSafety.prefix(text, byteCountMax: byteCountMax) + "…"
  }

  // MARK: Text

  private static func appendText(
    _ level: Logger.Level, _ label: String, _ message: String,
    _ metadata: [(key: String, value: String)], time: WallTime, style: LogStyle,
    to bytes: inout [UInt8]
  ) {
    if style.timestamp {
      time.appendRFC3339(to: &bytes)
      bytes.append(UInt8(ascii: " "))
    }
    if style.colour { bytes.append(utf8: level.colour) }
    bytes.append(utf8: level.rawValue)
    if style.colour { bytes.append(ascii: "\u{1b}[0m") }
    for _ in level.rawValue.utf8.count..<max(level.rawValue.utf8.count, 5) {
      bytes.append(UInt8(ascii: " "))
    }
    bytes.append(UInt8(ascii: " "))
    appendEscaped(label, to: &bytes)
    bytes.append(ascii: ": ")
    appendEscaped(message, to: &bytes)
    for (key, value) in metadata {
      var pair: [UInt8] = [UInt8(ascii: " ")]
      appendKey(key, to: &pair)
      pair.append(UInt8(ascii: "="))
      appendValue(cut(value, byteCountMax: valueByteCountMax), to: &pair)
      guard bytes.count + pair.count < byteCountMax - reserveByteCount else {
        bytes.append(ascii: " truncated=true")
        return
      }
      bytes.append(contentsOf: pair)
    }
  }

  /// Bare when that is unambiguous, otherwise in quotes.
  private static func appendValue(_ value: String, to bytes: inout [UInt8]) {
    let isBare =
      !value.isEmpty
      && value.unicodeScalars.allSatisfy {
        !TextSafety.mustEscape($0) && $0 != " " && $0 != "\"" && $0 != "=" && $0 != "\\"
      }
    if isBare {
      bytes.append(utf8: value)
    } else {
      bytes.append(UInt8(ascii: "\""))
      appendEscaped(value, quoted: true, to: &bytes)
      bytes.append(UInt8(ascii: "\""))
    }
  }

  private static func appendKey(_ key: String, to bytes: inout [UInt8]) {
    for scalar in cut(key, byteCountMax: keyByteCountMax).unicodeScalars {
      let isPlain =
        !TextSafety.mustEscape(scalar) && scalar != " " && scalar != "=" && scalar != "\""
      bytes.append(utf8: isPlain ? String(scalar) : "_")
    }
  }

  private static func appendEscaped(
    _ text: String, quoted: Bool = false, to bytes: inout [UInt8]
  ) {
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\n": bytes.append(ascii: "\\n")
      case "\r": bytes.append(ascii: "\\r")
      case "\t": bytes.append(ascii: "\\t")
      case "\"" where quoted: bytes.append(ascii: "\\\"")
      case "\\" where quoted: bytes.append(ascii: "\\\\")
      case _ where TextSafety.mustEscape(scalar):
        bytes.append(utf8: "\\u{\(String(scalar.value, radix: 16))}")
      case _: bytes.append(utf8: String(scalar))
      }
    }
  }

  // MARK: JSON

  private static func appendJSON(
    _ level: Logger.Level, _ label: String, _ message: String,
    _ metadata: [(key: String, value: String)], time: WallTime, to bytes: inout [UInt8]
  ) {
    bytes.append(UInt8(ascii: "{"))
    JSONText.append(key: "time", to: &bytes)
    bytes.append(UInt8(ascii: "\""))
    time.appendRFC3339(to: &bytes)
    bytes.append(UInt8(ascii: "\""))
    JSONText.append(key: "level", to: &bytes)
    JSONText.append(string: level.rawValue, to: &bytes)
    JSONText.append(key: "logger", to: &bytes)
    JSONText.append(string: label, to: &bytes)
    JSONText.append(key: "message", to: &bytes)
    JSONText.append(string: message, to: &bytes)
    for (key, value) in metadata {
      // A key of ours would make the object ambiguous.
      let key = ["time", "level", "logger", "message", "truncated"].contains(key) ? "_" + key : key
      var pair: [UInt8] = [UInt8(ascii: ",")]
      JSONText.append(
        string: cut(key, byteCountMax: keyByteCountMax), to: &pair)
      pair.append(UInt8(ascii: ":"))
      JSONText.append(
        string: cut(value, byteCountMax: valueByteCountMax), to: &pair)
      guard bytes.count + pair.count < byteCountMax - reserveByteCount else {
        bytes.append(ascii: ",\"truncated\":true")
        break
      }
      bytes.append(contentsOf: pair)
    }
    bytes.append(UInt8(ascii: "}"))
  }
}

extension Logger.Level {
  /// syslog(3): 2 critical … 7 debug.
  var journalPriority: UInt64 {
    switch self {
    case .critical: 2
    case .error: 3
    case .warning: 4
    case .notice: 5
    case .info: 6
    case .debug, .trace: 7
    }
  }

  fileprivate var colour: String {
    switch self {
    case .critical, .error: "\u{1b}[31m"
    case .warning: "\u{1b}[33m"
    case .notice: "\u{1b}[36m"
    case .info: "\u{1b}[32m"
    case .debug, .trace: "\u{1b}[90m"
    }
  }
}
