import GatewayCore
import JSONScanning

/// The input is a payload.
///
/// Promises: every match lies inside the payload and is what its kind says; the reader walks what
/// the scanner accepted, to its end; unescaping never makes a text longer than thrice its content.
enum JSONTarget {
  static let pointers = ["/id", "/a/0/b", "", "/\u{e9}", "/x~1y"]

  static func run(_ input: Span<UInt8>) throws(Violation) -> Bool {
    guard let parsed = try? pointers.map({ try JSONPointer($0) }) else {
      throw Violation("the pointers are pointers")
    }
    var scanner = JSONScanner(pointers: parsed)
    let verdict = scanner.scan(input)
    if case .invalid(let offset) = verdict {
      try require(0...input.count ~= offset, "an error lies inside the payload")
      for index in pointers.indices {
        try require(scanner.match(index) == nil, "what is not JSON has no matches")
      }
      return false
    }
    try require(scanner.match(2) != nil, "the empty pointer finds the whole text")
    for index in pointers.indices {
      if let match = scanner.match(index) { try check(match, input) }
    }
    try walk(input)
    return verdict == .valid
  }

  private static func check(_ match: JSONMatch, _ input: Span<UInt8>) throws(Violation) {
    try require(
      match.token.lowerBound >= 0 && match.token.upperBound <= input.count && !match.token.isEmpty
        && match.content.lowerBound <= match.content.upperBound,
      "a match lies inside the payload")
    let first = input[match.token.lowerBound]
    let last = input[match.token.upperBound - 1]
    switch match.kind {
    case .string: try require(first == 0x22 && last == 0x22, "a string has its quotes")
    case .object: try require(first == 0x7b && last == 0x7d, "an object has its braces")
    case .array: try require(first == 0x5b && last == 0x5d, "an array has its brackets")
    case .number: try require(first == 0x2d || 0x30...0x39 ~= first, "a number has digits")
    case .true, .false, .null: break
    }
    guard match.kind == .string else { return }
    var text: [UInt8] = []
    JSONString.appendUnescaped(input.extracting(match.content), to: &text)
    try require(text.count <= 3 * match.content.count, "unescaping is bounded")
    try require(String(validating: text, as: UTF8.self) != nil, "an unescaped text is UTF-8")
    if !match.hasEscapes {
      try require(
        text.span.equals(input.extracting(match.content)), "without escapes nothing changes")
    }
  }

  private static func walk(_ input: Span<UInt8>) throws(Violation) {
    let isAtEnd: Bool
    do throws(JSONSyntaxError) {
      var reader = JSONReader()
      switch try reader.nextKind(in: input) {
      case .object:
        try reader.beginObject(in: input)
        while try reader.nextName(in: input) != nil { _ = try reader.readValue(in: input) }
      case .array:
        try reader.beginArray(in: input)
        while try reader.nextElement(in: input) { _ = try reader.readValue(in: input) }
      default: _ = try reader.readValue(in: input)
      }
      isAtEnd = reader.isAtEnd(of: input)
    } catch {
      throw Violation("the reader refuses what the scanner accepted: \(error)")
    }
    try require(isAtEnd, "the reader comes to the end")
  }

  static func seeds() -> [[UInt8]] {
    [
      #"{"id":"a\n\u00e9\ud83d\ude00","a":[{"b":-1.5e3}],"\u00e9":null,"x/y":{}}"#,
      #"[1,2.25,true,false,null,"",[],{}]"#, #""\ud800""#, #"{"id":1,"id":2}"#, "1e999", " 0 ",
      String(repeating: "[", count: 70) + String(repeating: "]", count: 70),
    ].map { Array($0.utf8) }
  }
}
