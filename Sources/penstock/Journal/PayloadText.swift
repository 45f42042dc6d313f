import GatewayCore

/// A payload for people: JSON indented, other bytes as a dump.
enum PayloadText {
  /// A dump of more bytes than this is for a program: `--raw`.
  static let dumpByteCountMax = 16 << 10
  private static let bytesPerLine = 16

  static func lines(_ payload: Span<UInt8>, isJSON: Bool) -> [String] {
    isJSON ? indented(payload) : dump(payload)
  }

  /// A valid JSON text on several lines. Moves white space only: what is between is as it came.
  static func indented(_ json: Span<UInt8>) -> [String] {
    var lines: [String] = []
    var (line, depth) = ([UInt8](), 0)
    var (isInString, isEscaped) = (false, false)
    func end() {
      if !line.isEmpty { lines.append(Printable.text(line.span)) }
      line = Array(repeating: UInt8(ascii: " "), count: 2 * min(depth, 32))
    }
    var index = 0
    while index < json.count {
      let byte = json[index]
      index += 1
      if isInString {
        line.append(byte)
        if isEscaped {
          isEscaped = false
        } else if byte == UInt8(ascii: "\\") {
          isEscaped = true
        } else if byte == UInt8(ascii: "\"") {
          isInString = false
        }
        continue
      }
      switch byte {
      case UInt8(ascii: " "), 0x09, 0x0A, 0x0D: break
      case UInt8(ascii: "\""):
        line.append(byte)
        isInString = true
      case UInt8(ascii: "{"), UInt8(ascii: "["):
        line.append(byte)
        var next = index
        while next < json.count, json[next] <= 0x20 { next += 1 }
        if next < json.count, json[next] == byte + 2 {
          line.append(json[next])
          index = next + 1
        } else {
          depth += 1
          end()
        }
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        depth -= 1
        end()
        line.append(byte)
      case UInt8(ascii: ","):
        line.append(byte)
        end()
      case UInt8(ascii: ":"): line += [byte, UInt8(ascii: " ")]
      default: line.append(byte)
      }
    }
    end()
    return lines
  }

  /// Offset, sixteen bytes in hexadecimal, the same as ASCII.
  static func dump(_ bytes: Span<UInt8>) -> [String] {
    var lines: [String] = []
    let shown = min(bytes.count, dumpByteCountMax)
    for start in stride(from: 0, to: shown, by: bytesPerLine) {
      let part = bytes.extracting(start..<min(start + bytesPerLine, shown))
      var (hexadecimal, text) = ("", "")
      for index in part.indices {
        if index == bytesPerLine / 2 { hexadecimal += " " }
        hexadecimal += " " + Hexadecimal.text(part.extracting(index..<index + 1))
        let byte = part[index]
        text.unicodeScalars.append(
          (0x20..<0x7f).contains(byte) ? Unicode.Scalar(byte) : Unicode.Scalar(0x2e))
      }
      lines.append(
        Hexadecimal.text(UInt64(start)).suffix(8) + " " + RecordRow.left(hexadecimal, 49)
          + "  |\(text)|")
    }
    if shown < bytes.count {
      lines.append("… \(Figures.bytes(bytes.count - shown)) more; --raw writes them all")
    }
    return lines
  }
}
