// Goal: what is written can be read back, by our reader and by the scanner's strict rules. Method:
// round trips over boundary characters, ill-formed UTF-8 against the standard library's repair.

import GatewayCore
import JSONScanning
import Testing

@Suite("JSON strings and reader")
struct JSONStringTests {
  private func escaped(_ bytes: [UInt8]) -> [UInt8] {
    var text: [UInt8] = []
    JSONString.append(bytes.span, to: &text)
    return text
  }

  private func unescaped(_ text: String) -> String {
    var bytes: [UInt8] = []
    JSONString.appendUnescaped(Array(text.utf8).span, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test("every text survives escaping and unescaping, and the scanner accepts it")
  func roundTrip() {
    var texts = (0..<0x90 as Range<UInt32>).compactMap { Unicode.Scalar($0).map { "x\($0)y" } }
    texts += ["", "é漢😀", "\u{10FFFF}\u{FFFD}", "\"\\/\u{8}\u{C}\n\r\t", "0123456789\"0123456789\\"]
    for text in texts {
      let bytes = escaped(Array(text.utf8))
      var scanner = JSONScanner(pointers: [])
      let verdict = scanner.scan(bytes.span)
      #expect(verdict == .valid)
      #expect(unescaped(String(decoding: bytes.dropFirst().dropLast(), as: UTF8.self)) == text)
      var fromString: [UInt8] = []
      JSONString.append(text, to: &fromString)
      #expect(fromString == bytes)
    }
  }

  @Test("ill-formed UTF-8 is repaired as the standard library repairs it")
  func repair() {
    var generator = SplitMix64(state: 7)
    let alphabet: [UInt8] = [
      0x61, 0x80, 0xBF, 0xC2, 0xE0, 0xA0, 0xED, 0xF0, 0x90, 0xF4, 0x8F, 0xFF,
    ]
    for _ in 0..<5_000 {
      let bytes = (0..<generator.next() % 7).map { _ in
        alphabet[Int(generator.next() % UInt64(alphabet.count))]
      }
      let expected = "\"" + String(decoding: bytes, as: UTF8.self) + "\""
      #expect(escaped(bytes) == Array(expected.utf8), "\(bytes)")
    }
  }

  @Test("escapes become characters; a lone surrogate becomes U+FFFD")
  func unescape() {
    #expect(unescaped(#"\u0041\u00e9\u6f22\ud83d\ude00\/"#) == "Aé漢😀/")
    #expect(unescaped(#"\ud800x\udc00\ud800"#) == "\u{FFFD}x\u{FFFD}\u{FFFD}")
    #expect(unescaped(#"\ud800\ud83d\ude00"#) == "\u{FFFD}😀")
  }

  @Test("unescaping cut or odd content never traps")
  func cutContent() {
    let text = Array(#"a\u00e9\ud83d\ude00\n\"#.utf8)
    for count in 0...text.count {
      var bytes: [UInt8] = []
      JSONString.appendUnescaped(text.span.extracting(0..<count), to: &bytes)
    }
  }

  @Test("the reader walks a text in order and skips what it is not asked for")
  func reader() throws {
    let bytes = Array(
      #" { "a" : 18446744073709551615 , "s":[{"}":"]"},2,[]], "l":[ "x" , "y" ],"e":{} } "#.utf8)
    var reader = JSONReader()
    try reader.beginObject(in: bytes.span)
    var seen: [String] = []
    while let name = try reader.nextName(in: bytes.span) {
      switch String(decoding: bytes.span.extracting(name.content)) {
      case "a": seen.append("\(try reader.readUInt64(in: bytes.span))")
      case "l":
        try reader.beginArray(in: bytes.span)
        while try reader.nextElement(in: bytes.span) {
          let value = try reader.readString(in: bytes.span)
          seen.append(String(decoding: bytes[value.content], as: UTF8.self))
        }
      case "e":
        try reader.beginObject(in: bytes.span)
        let name = try reader.nextName(in: bytes.span)
        #expect(name == nil)
      default:
        let value = try reader.readValue(in: bytes.span)
        seen.append(String(decoding: bytes[value.token], as: UTF8.self))
      }
    }
    let isAtEnd = reader.isAtEnd(of: bytes.span)
    #expect(isAtEnd)
    #expect(seen == ["18446744073709551615", #"[{"}":"]"},2,[]]"#, "x", "y"])
  }

  @Test(
    "a number that is not a whole UInt64 is refused",
    arguments: ["-1", "1.0", "1e3", "18446744073709551616", "\"1\"", "null"])
  func notAWholeNumber(_ text: String) {
    let bytes = Array(text.utf8)
    var reader = JSONReader()
    #expect(throws: JSONSyntaxError.self) { _ = try reader.readUInt64(in: bytes.span) }
  }
}
