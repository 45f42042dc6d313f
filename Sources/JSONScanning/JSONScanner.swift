/// One strict pass over a payload: is it JSON (RFC 8259, in valid UTF-8, without a byte order
/// mark), is it safe to embed, and where are the values that a few pointers name?
///
/// Builds no tree and allocates nothing after `init`: about 60 KiB of fixed scratch, reused by
/// every scan. Not Sendable by design: one scanner per thread.
///
/// ## Choices that RFC 8259 leaves to the reader
/// - Any value may be the whole text, with whitespace around it.
/// - More than `depthMax` levels of nesting are refused as invalid (section 9 allows a limit); more
///   than `safeDepthMax` are a hazard.
/// - Of two equal names in one object, the last counts for a pointer, as with most decoders; the
///   verdict says that there were two.
package struct JSONScanner: ~Copyable {
  /// Levels of nesting that are scanned at all.
  package static let depthMax = 1024
  /// Levels of nesting that any decoder can be trusted with.
  package static let safeDepthMax = 64
  /// Names in objects that are open at the same time.
  package static let keyCountMax = JSONKeyTable.countMax
  /// Pointers per scanner.
  package static let pointerCountMax = 32

  /// A set of pointers, one bit each.
  private typealias PointerSet = UInt32

  /// One open object or array.
  private struct Level {
    var isObject = false
    /// Names in the key table when it was opened.
    var keyBase: Int32 = 0
    /// Tells its names from those of other objects.
    var number: UInt64 = 0
    /// Pointers that lead through here: all their parts so far match.
    var live: PointerSet = 0
    /// Pointers that end here: their match ends where this closes.
    var own: PointerSet = 0
    /// Of the element that comes next, in an array.
    var index = 0
  }

  /// One name or index of a pointer, in `partBytes`.
  private struct Part {
    var start: Int
    var count: Int
    /// The array index it is, or -1.
    var index: Int
  }

  private let pointerCount: Int
  /// The parts of pointer `p` begin at `p * JSONPointer.tokenCountMax`.
  private let parts: [Part]
  private let partBytes: [UInt8]
  /// By number of parts: the pointers that have that many.
  private let endingAt: [PointerSet]
  private var matches: [JSONMatch]
  private var matched: PointerSet = 0
  private var levels: [Level]
  private var depth = 0
  private var objectCount: UInt64 = 0
  private var keys = JSONKeyTable()
  private var unescaped: [UInt8] = []
  private var hazard: JSONHazard?

  /// Limits: at most `pointerCountMax` pointers.
  package init(pointers: [JSONPointer]) {
    precondition(
      pointers.count <= JSONScanner.pointerCountMax, "a scanner follows at most 32 pointers")
    pointerCount = pointers.count
    var endingAt = Array(repeating: 0 as PointerSet, count: JSONPointer.tokenCountMax + 1)
    var parts = Array(
      repeating: Part(start: 0, count: 0, index: -1),
      count: pointers.count * JSONPointer.tokenCountMax)
    var partBytes: [UInt8] = []
    for (number, pointer) in pointers.enumerated() {
      endingAt[pointer.tokens.count] |= 1 << PointerSet(number)
      for (level, token) in pointer.tokens.enumerated() {
        parts[number * JSONPointer.tokenCountMax + level] = Part(
          start: partBytes.count, count: token.count, index: JSONScanner.index(of: token))
        partBytes.append(contentsOf: token)
      }
    }
    self.parts = parts
    self.partBytes = partBytes
    self.endingAt = endingAt
    matches = Array(repeating: JSONMatch(kind: .null, token: 0..<0), count: pointers.count)
    levels = Array(repeating: Level(), count: JSONScanner.depthMax)
  }

  /// Scans one payload. What an earlier scan found is forgotten.
  package mutating func scan(_ bytes: Span<UInt8>) -> JSONVerdict {
    keys.cut(to: 0)
    matched = 0
    depth = 0
    hazard = nil
    do throws(JSONSyntaxError) {
      try run(bytes)
    } catch {
      matched = 0
      return .invalid(offset: error.offset)
    }
    if let hazard { return .hazardous(hazard) }
    return .valid
  }

  /// Where the `index`-th pointer led in the last scan; nil when it led nowhere.
  package func match(_ index: Int) -> JSONMatch? {
    matched & 1 << PointerSet(index) == 0 ? nil : matches[index]
  }

  private mutating func run(_ bytes: Span<UInt8>) throws(JSONSyntaxError) {
    var position = JSONLexer.skipWhitespace(bytes, 0)
    // Pointers all of whose parts match the way to the value that comes next.
    var candidates: PointerSet = pointerCount == 32 ? .max : 1 << PointerSet(pointerCount) - 1
    value: while true {
      guard position < bytes.count else { throw JSONSyntaxError(position, .value) }
      let start = position
      switch bytes[start] {
      case UInt8(ascii: "\""):
        let token = try JSONLexer.string(bytes, start + 1)
        position = token.end
        if token.hasLoneSurrogate { note(.loneSurrogate) }
        found(candidates, .string, start..<position, token.hasEscapes)
      case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"):
        let token = try JSONLexer.number(bytes, start)
        position = token.end
        if token.isBeyondDouble { note(.numberBeyondDouble) }
        found(candidates, .number, start..<position)
      case UInt8(ascii: "{"):
        try open(isObject: true, candidates, start)
        position = JSONLexer.skipWhitespace(bytes, start + 1)
        if position < bytes.count, bytes[position] == UInt8(ascii: "}") {
          position += 1
          close(at: position)
        } else {
          position = try name(bytes, position, &candidates)
          continue value
        }
      case UInt8(ascii: "["):
        try open(isObject: false, candidates, start)
        position = JSONLexer.skipWhitespace(bytes, start + 1)
        if position < bytes.count, bytes[position] == UInt8(ascii: "]") {
          position += 1
          close(at: position)
        } else {
          candidates = nextElement()
          continue value
        }
      default:
        let token = try JSONLexer.literal(bytes, start)
        position = token.end
        found(candidates, token.kind, start..<position)
      }
      guard try afterValue(bytes, &position, &candidates) else { return }
    }
  }

  /// What follows a value: commas and closings, up to the beginning of the next value. False at the
  /// end of the text.
  @inline(__always)
  private mutating func afterValue(
    _ bytes: Span<UInt8>, _ position: inout Int, _ candidates: inout PointerSet
  ) throws(JSONSyntaxError) -> Bool {
    while true {
      position = JSONLexer.skipWhitespace(bytes, position)
      if depth == 0 {
        guard position == bytes.count else { throw JSONSyntaxError(position, .end) }
        return false
      }
      let isObject = levels[depth - 1].isObject
      guard position < bytes.count else {
        throw JSONSyntaxError(position, isObject ? .commaOrBrace : .commaOrBracket)
      }
      let byte = bytes[position]
      if byte == UInt8(ascii: ",") {
        position = JSONLexer.skipWhitespace(bytes, position + 1)
        if isObject {
          position = try name(bytes, position, &candidates)
        } else {
          candidates = nextElement()
        }
        return true
      }
      guard byte == (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) else {
        throw JSONSyntaxError(position, isObject ? .commaOrBrace : .commaOrBracket)
      }
      position += 1
      close(at: position)
    }
  }

  /// A name and its colon: notes the name, and answers with the position of the value.
  @inline(__always)
  private mutating func name(
    _ bytes: Span<UInt8>, _ start: Int, _ candidates: inout PointerSet
  ) throws(JSONSyntaxError) -> Int {
    guard start < bytes.count, bytes[start] == UInt8(ascii: "\"") else {
      throw JSONSyntaxError(start, .name)
    }
    let token = try JSONLexer.string(bytes, start + 1)
    let content = bytes.extracting(start + 1..<token.end - 1)
    if token.hasEscapes {
      if token.hasLoneSurrogate { note(.loneSurrogate) }
      var scratch: [UInt8] = []
      swap(&scratch, &unescaped)
      scratch.removeAll(keepingCapacity: true)
      JSONString.appendUnescaped(content, to: &scratch)
      candidates = enter(scratch.span)
      swap(&scratch, &unescaped)
    } else {
      candidates = enter(content)
    }
    let colon = JSONLexer.skipWhitespace(bytes, token.end)
    guard colon < bytes.count, bytes[colon] == UInt8(ascii: ":") else {
      throw JSONSyntaxError(colon, .colon)
    }
    return JSONLexer.skipWhitespace(bytes, colon + 1)
  }

  /// Notes a name of the innermost object; answers with the pointers that go on through it.
  @inline(__always)
  private mutating func enter(_ name: Span<UInt8>) -> PointerSet {
    switch keys.insert(name, object: levels[depth - 1].number) {
    case .new: break
    case .duplicate: note(.duplicateKey)
    case .full: note(.tooManyKeys)
    }
    let live = levels[depth - 1].live
    return live == 0 ? 0 : follow(live, name, -1)
  }

  @inline(__always)
  private mutating func nextElement() -> PointerSet {
    let index = levels[depth - 1].index
    levels[depth - 1].index = index + 1
    let live = levels[depth - 1].live
    return live == 0 ? 0 : follow(live, Span(), index)
  }

  /// Those of the pointers in `live` whose part at this depth is the name, or the index if that is
  /// not negative.
  private mutating func follow(
    _ live: PointerSet, _ name: Span<UInt8>, _ index: Int
  ) -> PointerSet {
    var rest = live
    var next: PointerSet = 0
    while rest != 0 {
      let bit = rest & (0 &- rest)
      rest ^= bit
      let part = parts[bit.trailingZeroBitCount * JSONPointer.tokenCountMax + depth - 1]
      if index >= 0 {
        if part.index == index { next |= bit }
      } else if part.count == name.count {
        var at = 0
        while at < name.count, partBytes[part.start + at] == name[at] { at += 1 }
        if at == name.count { next |= bit }
      }
    }
    // Of two equal names the last counts, with all that is below it.
    matched &= ~next
    return next
  }

  /// The index that `token` is the decimal form of, without leading zeros; -1 when it is none.
  private static func index(of token: [UInt8]) -> Int {
    guard !token.isEmpty, token.count <= 10, token.count == 1 || token[0] != UInt8(ascii: "0")
    else { return -1 }
    var value = 0
    for byte in token {
      guard byte &- UInt8(ascii: "0") < 10 else { return -1 }
      value = value * 10 + Int(byte - UInt8(ascii: "0"))
    }
    return value
  }

  /// Notes the value for those candidates that end at it.
  @inline(__always)
  private mutating func found(
    _ candidates: PointerSet, _ kind: JSONKind, _ token: Range<Int>, _ hasEscapes: Bool = false
  ) {
    if candidates != 0 {
      record(
        candidates & endingAt[depth], JSONMatch(kind: kind, token: token, hasEscapes: hasEscapes))
    }
  }

  private mutating func record(_ pointers: PointerSet, _ match: JSONMatch) {
    var rest = pointers
    while rest != 0 {
      matches[rest.trailingZeroBitCount] = match
      rest &= rest - 1
    }
    matched |= pointers
  }

  private mutating func open(
    isObject: Bool, _ candidates: PointerSet, _ start: Int
  ) throws(JSONSyntaxError) {
    guard depth < JSONScanner.depthMax else { throw JSONSyntaxError(start, .depth) }
    var own: PointerSet = 0
    if candidates != 0 {
      own = candidates & endingAt[depth]
      record(own, JSONMatch(kind: isObject ? .object : .array, token: start..<start + 1))
    }
    objectCount &+= 1
    levels[depth] = Level(
      isObject: isObject, keyBase: Int32(keys.count), number: objectCount,
      live: candidates & ~own, own: own)
    depth += 1
    if depth > JSONScanner.safeDepthMax { note(.depth) }
  }

  private mutating func close(at end: Int) {
    depth -= 1
    if levels[depth].isObject { keys.cut(to: Int(levels[depth].keyBase)) }
    var rest = levels[depth].own
    while rest != 0 {
      matches[rest.trailingZeroBitCount].close(at: end)
      rest &= rest - 1
    }
  }

  private mutating func note(_ hazard: JSONHazard) {
    if self.hazard == nil { self.hazard = hazard }
  }
}
