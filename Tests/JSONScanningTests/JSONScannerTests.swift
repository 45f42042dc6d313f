// Goal: the scanner accepts exactly RFC 8259 in valid UTF-8, names every hazard, and finds what
// pointers name. Method: hand-written accept and reject cases, byte by byte where text cannot say
// it; seeded mutations for robustness. Cannot show: agreement with some other parser.

import JSONScanning
import Testing

private func scan(_ bytes: [UInt8], _ pointers: [JSONPointer] = []) -> JSONVerdict {
  var scanner = JSONScanner(pointers: pointers)
  return scanner.scan(bytes.span)
}

private func scan(_ text: String) -> JSONVerdict { scan(Array(text.utf8)) }

@Suite("JSON scanner: syntax")
struct JSONScannerSyntaxTests {
  @Test(
    "a text of RFC 8259 is accepted",
    arguments: [
      "0", "-0", "1", "-1.5", "0.1", "1e5", "1E+5", "1e-05", "123456789012345678901234567890",
      "true", "false", "null", "\"\"", "\"a\"", " 1 ", "\t\n\r 1\n", "[]", "[ ]", "{}", "{ }",
      "[1]", "[1,2]", "[ 1 , [ ] , { } ]", "{\"a\":1}", "{ \"a\" : { \"b\" : [ null ] } }",
      "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"", "\"\\ud83d\\ude00\"", "\"\\uD83D\\uDE00\"",
      "\"\\u0000\"", "\"\u{7F}\"", "\"é漢😀\"", "\"\u{FFFF}\u{10FFFF}\"", "{\"\":0}",
      "{\"a\":0,\"b\":0}", "[{\"a\":0},{\"a\":0}]", "{\"a\":{\"a\":{\"a\":0}}}", "0e999", "1e-999",
      "1.7976931348623157e308", "-17976931348623157e292", "0.00001e313", "\"12345678\"",
      "\"1234567\"", "\"123456789\"", "\"1234567\\n\"", "\"12345678\\n\"",
    ])
  func accepts(_ text: String) {
    #expect(scan(text) == .valid)
  }

  @Test(
    "a text that RFC 8259 does not allow is refused where it goes wrong",
    arguments: [
      ("", 0), (" ", 1), ("01", 1), ("-", 1), ("-a", 1), ("+1", 0), (".5", 0), ("1.", 2),
      ("1.e5", 2), ("1e", 2), ("1e+", 3), ("0x10", 1), ("1 2", 2), ("NaN", 0), ("-Infinity", 1),
      ("tru", 0), ("truE", 0), ("nul", 0), ("fals", 0), ("falsy", 0), ("True", 0), ("[", 1),
      ("[1", 2), ("[1,", 3), ("[1,]", 3), ("[,1]", 1), ("[1 2]", 3), ("[1}", 2), ("]", 0),
      ("{", 1), ("{\"a\"", 4), ("{\"a\":", 5), ("{\"a\":1", 6), ("{\"a\":1,", 7),
      ("{\"a\":1,}", 7), ("{a:1}", 1), ("{'a':1}", 1), ("{1:1}", 1), ("{\"a\" 1}", 5),
      ("{\"a\":1]", 6), ("{,}", 1), ("{\"a\":1 \"b\":2}", 7), ("\"", 1), ("\"abc", 4),
      ("\"\\", 2), ("\"\\\"", 3), ("\"\\x\"", 1), ("\"\\u12\"", 1), ("\"\\u12G4\"", 1),
      ("\"a\nb\"", 2), ("\"\t\"", 1), ("\"\u{0}\"", 1), ("\"12345678\u{1}\"", 9), ("\u{FEFF}1", 0),
      ("1\u{FEFF}", 1), ("// c\n1", 0), ("[1]]", 3), ("{}{}", 2), ("\u{A0}1", 0), ("\u{C}1", 0),
      ("truetrue", 4), ("\"a\"\"b\"", 3), ("[\"a\"", 4), ("00", 1), ("-01", 2), ("[-]", 2),
    ])
  func refuses(_ text: String, _ offset: Int) {
    #expect(scan(text) == .invalid(offset: offset))
  }

  @Test(
    "ill-formed UTF-8 in a string is refused at its first byte",
    arguments: [
      [0x80], [0xBF], [0xC0, 0x80], [0xC1, 0xBF], [0xC2], [0xC2, 0x20], [0xE0, 0x9F, 0xBF],
      [0xE0, 0xA0], [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xE2, 0x28, 0xA1], [0xE2, 0x82, 0x28],
      [0xF0, 0x8F, 0xBF, 0xBF], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFF], [0xFE],
      [0xF0, 0x9F, 0x98], [0xF0, 0x9F, 0x28, 0x80],
    ] as [[UInt8]])
  func illFormedUTF8(_ bytes: [UInt8]) {
    for padding in 0..<17 {
      let text = [0x22] + Array(repeating: 0x61, count: padding) + bytes + [0x22]
      #expect(scan(text) == .invalid(offset: 1 + padding))
    }
    #expect(scan(bytes) == .invalid(offset: 0))
  }

  @Test("every boundary character of UTF-8 is accepted at every word offset")
  func wellFormedUTF8() {
    for value in [0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0x10000, 0x10FFFF] as [UInt32] {
      guard let scalar = Unicode.Scalar(value) else { continue }
      for padding in 0..<17 {
        #expect(scan("\"\(String(repeating: "a", count: padding))\(scalar)\"") == .valid)
      }
    }
  }

  @Test("every prefix of a text is refused, at no more than its length")
  func prefixes() {
    let text = Array(#"{"a":[1.5e3,"x\u00e9\ud83d\ude00é",{"b":null}],"c":[true,false]}"#.utf8)
    #expect(scan(text) == .valid)
    for count in 0..<text.count {
      guard case .invalid(let offset) = scan(Array(text[..<count])) else {
        Issue.record("the first \(count) bytes were accepted")
        continue
      }
      #expect(offset <= count)
    }
  }

  @Test("a scanner that refused one text scans the next as if it were new")
  func reuse() throws {
    var scanner = JSONScanner(pointers: [try JSONPointer("/a")])
    let broken = Array(#"{"a":1,"b":[{"c":"#.utf8)
    let whole = Array(#"{"b":2,"c":3}"#.utf8)
    for _ in 0..<3 {
      let first = scanner.scan(broken.span)
      let firstMatch = scanner.match(0)
      let second = scanner.scan(whole.span)
      let secondMatch = scanner.match(0)
      #expect(first == .invalid(offset: broken.count))
      #expect(second == .valid)
      #expect(firstMatch == nil && secondMatch == nil)
    }
  }

  @Test("seeded mutations of good texts never trap, and matches stay inside the bytes")
  func mutations() throws {
    var generator = SplitMix64(state: 0x9E57_0C4A)
    var scanner = JSONScanner(pointers: [
      try JSONPointer(""), try JSONPointer("/a"), try JSONPointer("/a/0"), try JSONPointer("/c/d"),
    ])
    let seed = Array(
      #"{"a":[1.5e3,"x\u00e9é",{"b":null}],"c":{"d":"\ud83d\ude00","d":1e400}}"#.utf8)
    let alphabet = Array(#"{}[]",:\u09eE+-.tfn "#.utf8) + [0x00, 0x80, 0xC3, 0xED, 0xFF]
    for _ in 0..<50_000 {
      var bytes = seed
      for _ in 0...Int(generator.next() % 4) {
        let place = Int(generator.next() % UInt64(bytes.count))
        switch generator.next() % 3 {
        case 0: bytes[place] = alphabet[Int(generator.next() % UInt64(alphabet.count))]
        case 1: bytes.remove(at: place)
        default: bytes.insert(alphabet[Int(generator.next() % UInt64(alphabet.count))], at: place)
        }
      }
      let verdict = scanner.scan(bytes.span)
      for index in 0..<4 {
        guard let match = scanner.match(index) else { continue }
        #expect(match.token.upperBound <= bytes.count && !match.token.isEmpty)
        if case .invalid = verdict { Issue.record("an invalid text has a match") }
      }
      if case .invalid(let offset) = verdict { #expect(offset <= bytes.count) }
    }
  }
}

@Suite("JSON scanner: hazards")
struct JSONScannerHazardTests {
  private func nested(_ depth: Int) -> String {
    String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
  }

  @Test(
    "a lone surrogate is a hazard, in values and in names",
    arguments: [
      #""\ud800""#, #""\udfff""#, #""\ud800\ud800\udc00""#, #""\ud800x""#, #""\ud800\n""#,
      #""\udc00\ud800""#, #"{"\ud800":1}"#, #""\ud83d\u0041""#,
    ])
  func loneSurrogate(_ text: String) {
    #expect(scan(text) == .hazardous(.loneSurrogate))
  }

  @Test("64 levels are safe, 65 a hazard, 1025 refused")
  func depth() {
    #expect(scan(nested(64)) == .valid)
    #expect(scan(nested(65)) == .hazardous(.depth))
    #expect(scan(nested(1024)) == .hazardous(.depth))
    #expect(scan(nested(1025)) == .invalid(offset: 1024))
    #expect(scan(String(repeating: "[", count: 1_000_000)) == .invalid(offset: 1024))
  }

  @Test(
    "two equal names in one object are a hazard, however they are written",
    arguments: [
      #"{"a":1,"a":2}"#, #"{"a":1,"\u0061":2}"#, #"{"é":1,"\u00e9":2}"#, #"{"\/":1,"/":2}"#,
      #"{"\ud83d\ude00":1,"😀":2}"#, #"{"":1,"":2}"#, #"{"x":{"a":1,"b":2,"a":3}}"#,
      #"{"a":{"b":1},"c":[{"a":0}],"a":2}"#, #"[{"a":1},{"a":1,"longer than eight":1,"a":2}]"#,
      #"{"longer than eight":1,"longer than eigh\u0074":2}"#,
    ])
  func duplicateKey(_ text: String) {
    #expect(scan(text) == .hazardous(.duplicateKey))
  }

  @Test(
    "names that only look alike are not duplicates",
    arguments: [
      #"{"a":1,"A":2}"#, #"{"a":1,"a ":2}"#, #"{"a":1,"\\u0061":2}"#, #"{"a":{"a":1},"b":{"a":1}}"#,
      #"{"aaaaaaaa":1,"aaaaaaaaa":2,"aaaaaaa":3}"#, #"{"e\u0301":1,"é":2}"#,
      #"{"a":{"b":{"c":1}},"b":{"c":1},"c":1}"#, #"{"\u0000":1,"":2,"\u0000\u0000":3}"#,
    ])
  func notDuplicate(_ text: String) {
    #expect(scan(text) == .valid)
  }

  @Test("duplicates are found among many names; with more than the table holds it says so")
  func manyKeys() {
    func object(_ count: Int, _ last: String = "") -> String {
      "{" + (0..<count).map { "\"k\($0)\":\($0)" }.joined(separator: ",") + last + "}"
    }
    #expect(scan(object(1024)) == .valid)
    #expect(scan(object(1025)) == .hazardous(.tooManyKeys))
    #expect(scan(object(1023, ",\"k0\":0")) == .hazardous(.duplicateKey))
    let list = "[" + Array(repeating: object(1000), count: 20).joined(separator: ",") + "]"
    #expect(scan(list) == .valid)
  }

  @Test("a plain set agrees with the key table on seeded nested objects")
  func model() {
    var generator = SplitMix64(state: 42)
    for _ in 0..<2_000 {
      var hasDuplicate = false
      func object(_ depth: Int) -> String {
        var names: Set<UInt64> = []
        let members = (0..<generator.next() % 8).map { _ in
          let name = generator.next() % 40
          if !names.insert(name).inserted { hasDuplicate = true }
          return "\"\(name)\":" + (depth < 3 && generator.next() % 3 == 0 ? object(depth + 1) : "0")
        }
        return "{" + members.joined(separator: ",") + "}"
      }
      let text = object(0)
      #expect(scan(text) == (hasDuplicate ? .hazardous(.duplicateKey) : .valid), "\(text)")
    }
  }

  @Test(
    "a number beyond double is a hazard",
    arguments: [
      "1e309", "-1e309", "1.8e308", "17976931348623158e292", "1e99999999999999999999",
      "0.00001e314", "1" + String(repeating: "0", count: 309), "[1,1E400]",
      "9" + String(repeating: "0", count: 308) + ".5e0",
    ])
  func beyondDouble(_ text: String) {
    #expect(scan(text) == .hazardous(.numberBeyondDouble))
  }

  @Test(
    "long, tiny and zero numbers are no hazard",
    arguments: [
      "1" + String(repeating: "0", count: 308), "1e308", "0." + String(repeating: "0", count: 400),
      "0." + String(repeating: "0", count: 400) + "1", "0e400", "-0.0e9999",
      "1e-9999999999999999999",
      "0." + String(repeating: "0", count: 400) + "1e700", "10000e304", "18446744073709551616",
    ])
  func withinDouble(_ text: String) {
    #expect(scan(text) == .valid)
  }

  @Test("a hazard does not hide a later syntax error")
  func hazardThenError() {
    #expect(scan(#"{"a":1,"a":}"#) == .invalid(offset: 11))
  }
}

/// The generator of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators".
struct SplitMix64: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var word = state
    word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
    word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
    return word ^ (word >> 31)
  }
}
