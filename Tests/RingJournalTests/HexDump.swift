/// Files as text, in the form that `xxd -r` turns back into the file: only lines that hold
/// something, and the last line for the size.
enum HexDump {
  private static let lineByteCount = 16

  static func text(_ bytes: [UInt8]) -> String {
    var lines: [String] = []
    let last = bytes.count - lineByteCount
    for start in stride(from: 0, to: bytes.count, by: lineByteCount) {
      let line = bytes[start..<start + lineByteCount]
      if start == last || line.contains(where: { $0 != 0 }) { lines.append(text(line, at: start)) }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func text(_ line: ArraySlice<UInt8>, at offset: Int) -> String {
    func digits(_ value: Int, _ count: Int) -> String {
      let text = String(value, radix: 16)
      return String(repeating: "0", count: count - text.count) + text
    }
    var text = digits(offset, 8) + ":"
    for (index, byte) in line.enumerated() {
      if index % 2 == 0 { text += " " }
      text += digits(Int(byte), 2)
    }
    text += "  "
    for byte in line {
      text += 0x20..<0x7f ~= byte ? String(Unicode.Scalar(byte)) : "."
    }
    return text
  }

  /// The bytes of such a text; nil when it is not one.
  static func bytes(_ text: String) -> [UInt8]? {
    let lines = text.split(separator: "\n")
    guard let last = lines.last, let end = offset(of: last) else { return nil }
    var bytes = [UInt8](repeating: 0, count: end + lineByteCount)
    for line in lines {
      guard let start = offset(of: line), start <= end else { return nil }
      // 8 digits, colon, then 8 times a space and 4 digits.
      let digits = Array(line.utf8.dropFirst(9).prefix(40)).filter { $0 != 0x20 }
      guard digits.count == 2 * lineByteCount else { return nil }
      for index in 0..<lineByteCount {
        let pair = String(decoding: digits[2 * index..<2 * index + 2], as: UTF8.self)
        guard let byte = UInt8(pair, radix: 16) else { return nil }
        bytes[start + index] = byte
      }
    }
    return bytes
  }

  private static func offset(of line: Substring) -> Int? { Int(line.prefix(8), radix: 16) }
}
