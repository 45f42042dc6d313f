// The boundary to libyaml and the only file of this module with `unsafe`. libyaml reports a stream
// of events with marks; what a configuration may contain is decided in YAMLDocument, not here.

import CYAML
import GatewayCore

/// One event of libyaml, copied out of C memory.
struct YAMLEvent {
  enum Kind: Equatable {
    case streamStart
    case streamEnd
    case documentStart(hasDirectives: Bool)
    case documentEnd
    case alias
    case scalar(text: String, isPlain: Bool)
    case sequenceStart
    case sequenceEnd
    case mappingStart
    case mappingEnd
  }

  var kind: Kind
  var start: Mark
  var end: Mark
  var anchor: String?
  var tag: String?
}

/// The text is not YAML.
struct YAMLSyntaxError: Error {
  var mark: Mark
  var message: String
}

/// Owns one libyaml parser and the bytes it reads. Confined to the function that created it.
@safe struct YAMLEventStream: ~Copyable {
  // On the heap, because libyaml keeps a pointer to the parser inside the parser.
  private let parser: UnsafeMutablePointer<yaml_parser_t>
  private let input: UnsafeMutablePointer<UInt8>
  private let inputByteCount: Int

  /// Copies the bytes. UTF-8 only: a byte order mark of another encoding is a syntax error.
  init(_ bytes: Span<UInt8>) throws(YAMLSyntaxError) {
    let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
    guard unsafe yaml_parser_initialize(parser) == 1 else {
      unsafe parser.deallocate()
      throw YAMLSyntaxError(mark: .start, message: "the YAML parser found no memory")
    }
    // libyaml reads on from the pointer until the end of the parse: it must not move.
    let input = UnsafeMutablePointer<UInt8>.allocate(capacity: max(bytes.count, 1))
    unsafe bytes.withUnsafeBufferPointer { source in
      if let base = source.baseAddress { unsafe input.initialize(from: base, count: source.count) }
    }
    unsafe yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
    // A byte order mark would shift the columns of the first line, and with them its block.
    let hasMark = bytes.count >= 3 && bytes[0] == 0xEF && bytes[1] == 0xBB && bytes[2] == 0xBF
    let markByteCount = hasMark ? 3 : 0
    unsafe yaml_parser_set_input_string(
      parser, input + markByteCount, bytes.count - markByteCount)
    unsafe self.parser = parser
    unsafe self.input = input
    inputByteCount = bytes.count
  }

  deinit {
    unsafe yaml_parser_delete(parser)
    unsafe parser.deallocate()
    unsafe input.deallocate()
  }

  /// The next event. After `streamEnd` or an error: no further call.
  mutating func next() throws(YAMLSyntaxError) -> YAMLEvent {
    var event = unsafe yaml_event_t()
    guard unsafe yaml_parser_parse(parser, &event) == 1 else { throw syntaxError() }
    // libyaml allocated the texts of the event; they are copied before this line runs.
    defer { unsafe yaml_event_delete(&event) }
    return unsafe Self.copy(event)
  }

  private static func copy(_ event: borrowing yaml_event_t) -> YAMLEvent {
    let start = unsafe mark(event.start_mark)
    let end = unsafe mark(event.end_mark)
    func make(_ kind: YAMLEvent.Kind) -> YAMLEvent { YAMLEvent(kind: kind, start: start, end: end) }
    switch unsafe event.type {
    case YAML_STREAM_START_EVENT: return make(.streamStart)
    case YAML_STREAM_END_EVENT: return make(.streamEnd)
    case YAML_DOCUMENT_START_EVENT:
      let document = unsafe event.data.document_start
      let hasDirectives =
        unsafe document.version_directive != nil
        || document.tag_directives.start != document.tag_directives.end
      return make(.documentStart(hasDirectives: hasDirectives))
    case YAML_DOCUMENT_END_EVENT: return make(.documentEnd)
    case YAML_ALIAS_EVENT: return make(.alias)
    case YAML_SCALAR_EVENT:
      let scalar = unsafe event.data.scalar
      let bytes = unsafe UnsafeBufferPointer(start: scalar.value, count: scalar.length)
      let value = unsafe String(decoding: bytes, as: UTF8.self)
      let isPlain = unsafe scalar.style == YAML_PLAIN_SCALAR_STYLE
      var result = make(.scalar(text: value, isPlain: isPlain))
      result.anchor = unsafe text(scalar.anchor)
      result.tag = unsafe text(scalar.tag)
      return result
    case YAML_SEQUENCE_START_EVENT:
      var result = make(.sequenceStart)
      result.anchor = unsafe text(event.data.sequence_start.anchor)
      result.tag = unsafe text(event.data.sequence_start.tag)
      return result
    case YAML_SEQUENCE_END_EVENT: return make(.sequenceEnd)
    case YAML_MAPPING_START_EVENT:
      var result = make(.mappingStart)
      result.anchor = unsafe text(event.data.mapping_start.anchor)
      result.tag = unsafe text(event.data.mapping_start.tag)
      return result
    case YAML_MAPPING_END_EVENT: return make(.mappingEnd)
    default: preconditionFailure("libyaml 0.2 has ten kinds of event, all named above")
    }
  }

  private static func text(_ pointer: UnsafeMutablePointer<UInt8>?) -> String? {
    guard let pointer = unsafe pointer else { return nil }
    return unsafe String(cString: pointer)
  }

  private static func mark(_ mark: yaml_mark_t) -> Mark {
    Mark(line: mark.line + 1, column: mark.column + 1)
  }

  private func syntaxError() -> YAMLSyntaxError {
    let problem = unsafe parser.pointee.problem.map { unsafe String(cString: $0) }
    let context = unsafe parser.pointee.context.map { unsafe String(cString: $0) }
    var message = problem ?? "not YAML"
    if let context { message += " (\(context))" }
    if unsafe parser.pointee.error == YAML_READER_ERROR {
      // The reader knows bytes only: no mark.
      let position = unsafe positionOfByte(Int(parser.pointee.problem_offset))
      return YAMLSyntaxError(mark: position, message: message + "; the file must be UTF-8 text")
    }
    return YAMLSyntaxError(mark: Self.mark(unsafe parser.pointee.problem_mark), message: message)
  }

  private func positionOfByte(_ offset: Int) -> Mark {
    var mark = Mark.start
    for index in 0..<min(offset, inputByteCount) {
      let byte = unsafe input[index]
      if byte == UInt8(ascii: "\n") {
        mark = Mark(line: mark.line + 1, column: 1)
      } else if byte & 0xC0 != 0x80 {
        mark.column += 1
      }
    }
    return mark
  }
}
