// What the id of a message is, and its text.
//
//   string         the decoded string
//   number         the token as it stands in the payload: 1, 1.0 and 1e0 are three ids
//   user property  its value
//   several parts  joined by `|`, in each part `%` written `%25` and `|` written `%7C`
//   content        no text: the same reading may come again, and then it is another event
//
// No id: null, true, false, an object, an array, nothing at that place, an empty string, a string
// with half a surrogate pair (it has no text; seen by the U+FFFD it decodes to), a payload that is
// not JSON, and of several parts one that is missing. A message without an id is not deduplicated;
// what becomes of it is the route's `missing_id`.
//
// Text of more than 255 bytes is replaced by the 64 hexadecimal digits of its SHA-256. That is not
// keyed, so that the hub sees one id, whichever gateway or journal carried the message. The hash in
// the record is always that of the full text, and knows of each part whether it was a string or a
// number; the text does not.

package import GatewayCore
package import JSONScanning

/// Who a message is: what the window compares and what the record carries.
package struct MessageIdentity: Hashable, Sendable {
  /// Source topic and message id; `.absent` when the message has no id.
  package let hash: MessageIDHash
  /// Tells payloads under one id apart; 0 when the message has no id.
  package let digest: UInt64
  /// Where the id's text is. `.stored`: in the extractor's `storedText`, until the next message.
  package let text: MessageIDText

  package init(hash: MessageIDHash, digest: UInt64, text: MessageIDText) {
    self.hash = hash
    self.digest = digest
    self.text = text
  }

  package static let absent = MessageIdentity(hash: .absent, digest: 0, text: .absent)
}

/// Finds the identity of one message after the other. One owner, one thread. Allocates only while
/// its buffers grow to the largest topic and id seen (an id is no longer than three times its
/// payload).
package struct IdentityExtractor: ~Copyable {
  package let selector: MessageIDSelector
  package let hasher: MessageHasher
  /// What a `JSONScanner` must look for so that `identify` finds its matches: 0 ..< count.
  package let pointers: [JSONPointer]
  /// The text of the last identity whose `text` is `.stored`, in UTF-8.
  package private(set) var storedText: [UInt8] = []

  private var input: [UInt8] = []
  private var part: [UInt8] = []
  /// Where in `input` the text of the id begins.
  private var textOffset = 0

  /// - Throws: when a pointer of the selector is not one by RFC 6901.
  package init(selector: MessageIDSelector, key: HashKey) throws(JSONPointerError) {
    self.selector = selector
    hasher = MessageHasher(key: key)
    pointers = try Self.pointers(of: selector)
    input.reserveCapacity(1024)
    storedText.reserveCapacity(MessageIDText.byteCountMax)
  }

  /// The pointers of an extractor for this selector.
  package static func pointers(
    of selector: MessageIDSelector
  ) throws(JSONPointerError) -> [JSONPointer] {
    guard case .json(let texts) = selector else { return [] }
    precondition(
      (1...Self.partCountMax).contains(texts.count), "the configuration bounds the parts")
    var pointers: [JSONPointer] = []
    for text in texts { pointers.append(try JSONPointer(text)) }
    return pointers
  }

  /// Parts of one id.
  package static let partCountMax = 8

  /// The name of the user property that is the id, when one is.
  package var userPropertyName: String? {
    if case .userProperty(let name) = selector { name } else { nil }
  }

  /// The identity of one message.
  ///
  /// - Parameters:
  ///   - topic: the source topic, as received.
  ///   - payload: as received.
  ///   - json: has scanned this payload for `pointers`; not looked at by the other selectors.
  ///   - userProperty: the value of `userPropertyName`, when the message has it.
  package mutating func identify(
    topic: Span<UInt8>, payload: Span<UInt8>, json: borrowing JSONScanner,
    userProperty: Span<UInt8>? = nil
  ) -> MessageIdentity {
    switch selector {
    case .none:
      return .absent
    case .content:
      let (hash, digest) = hasher.contentHash(scope: topic, payload: payload, scratch: &input)
      return MessageIdentity(hash: hash, digest: digest, text: .absent)
    case .userProperty:
      guard let userProperty, !userProperty.isEmpty else { return .absent }
      begin(topic: topic, partCount: 1)
      MessageIDInput.setKind(.userProperty, ofPart: 0, in: &input)
      input.append(userProperty)
      return stored(topic: topic, payload: payload)
    case .json where pointers.count == 1:
      return single(topic: topic, payload: payload, json: json)
    case .json:
      return joined(topic: topic, payload: payload, json: json)
    }
  }

  /// One part: no escaping, and most often the text stands in the payload as it is.
  private mutating func single(
    topic: Span<UInt8>, payload: Span<UInt8>, json: borrowing JSONScanner
  ) -> MessageIdentity {
    guard let match = json.match(0), let kind = MessageIDPartKind(match.kind) else {
      return .absent
    }
    begin(topic: topic, partCount: 1)
    MessageIDInput.setKind(kind, ofPart: 0, in: &input)
    if match.hasEscapes {
      JSONString.appendUnescaped(payload.extracting(match.content), to: &input)
      if Self.holdsReplacement(input, from: textOffset) { return .absent }
      return stored(topic: topic, payload: payload)
    }
    let range = match.content
    if range.isEmpty { return .absent }
    input.append(payload.extracting(range))
    if range.count > MessageIDText.byteCountMax { return stored(topic: topic, payload: payload) }
    return MessageIdentity(
      hash: hasher.hash(input: input.span), digest: hasher.digest(payload),
      text: .payload(offset: range.lowerBound, count: range.count))
  }

  /// Several parts, each percent-escaped so that the join can be taken apart in one way only.
  private mutating func joined(
    topic: Span<UInt8>, payload: Span<UInt8>, json: borrowing JSONScanner
  ) -> MessageIdentity {
    begin(topic: topic, partCount: pointers.count)
    for index in pointers.indices {
      guard let match = json.match(index), let kind = MessageIDPartKind(match.kind) else {
        return .absent
      }
      MessageIDInput.setKind(kind, ofPart: index, in: &input)
      let content = payload.extracting(match.content)
      part.removeAll(keepingCapacity: true)
      if match.hasEscapes {
        JSONString.appendUnescaped(content, to: &part)
        if Self.holdsReplacement(part, from: 0) { return .absent }
      } else {
        part.append(content)
      }
      if part.isEmpty { return .absent }
      if index > 0 { input.append(UInt8(ascii: "|")) }
      Self.appendEscaped(part, to: &input)
    }
    return stored(topic: topic, payload: payload)
  }

  private static func appendEscaped(_ part: [UInt8], to text: inout [UInt8]) {
    let bytes = part.span
    for index in bytes.indices {
      switch bytes[index] {
      case UInt8(ascii: "%"): text.append(ascii: "%25")
      case UInt8(ascii: "|"): text.append(ascii: "%7C")
      case let byte: text.append(byte)
      }
    }
  }

  private mutating func begin(topic: Span<UInt8>, partCount: Int) {
    MessageIDInput.begin(&input, partCount: partCount, topicByteCount: topic.count)
    input.append(topic)
    textOffset = input.count
  }

  /// The identity whose text is what `input` holds behind the topic.
  private mutating func stored(topic: Span<UInt8>, payload: Span<UInt8>) -> MessageIdentity {
    if input.count == textOffset { return .absent }
    Self.store(textOf: input, from: textOffset, into: &storedText)
    return MessageIdentity(
      hash: hasher.hash(input: input.span), digest: hasher.digest(payload), text: .stored)
  }

  /// Whether an unescaped text holds U+FFFD, which is what half a surrogate pair becomes.
  private static func holdsReplacement(_ text: [UInt8], from offset: Int) -> Bool {
    let bytes = text.span.extracting(droppingFirst: offset)
    for index in 0..<max(0, bytes.count - 2)
    where bytes[index] == 0xef && bytes[index + 1] == 0xbf && bytes[index + 2] == 0xbd {
      return true
    }
    return false
  }

  private static func store(textOf input: [UInt8], from offset: Int, into stored: inout [UInt8]) {
    let text = input.span.extracting(droppingFirst: offset)
    stored.removeAll(keepingCapacity: true)
    if text.count > MessageIDText.byteCountMax {
      Sodium.appendSHA256(of: text, to: &stored)
    } else {
      stored.append(text)
    }
  }
}

extension MessageIDPartKind {
  /// Only strings and numbers are ids.
  fileprivate init?(_ kind: JSONKind) {
    switch kind {
    case .string: self = .string
    case .number: self = .number
    default: return nil
    }
  }
}
