import GatewayCore
import JSONScanning

/// The members of a decompressed envelope, in whatever order they stand. The text has passed the
/// scanner. Members that must be there and are not, that come twice, or that have another form than
/// Envelope.swift says make it malformed; members that this version does not know are passed over.
struct EnvelopeParser {
  /// The version that this parser knows.
  static let version: UInt64 = 1

  private var reader = JSONReader()
  private var scratch: [UInt8] = []

  init() {}

  mutating func parse(
    _ text: Span<UInt8>, _ compression: Compression
  ) throws(EnvelopeError) -> Envelope {
    do {
      try checkVersion(text)
      return try envelope(text, compression)
    } catch let error as EnvelopeError {
      throw error
    } catch let error as JSONSyntaxError {
      throw EnvelopeError(
        .malformed, offset: error.offset, detail: "expected \(error.expected.rawValue)")
    } catch {
      throw EnvelopeError(.malformed, detail: "\(error)")
    }
  }

  /// Looks for the version first, so that a later format is called by its name and not malformed.
  private func checkVersion(_ text: Span<UInt8>) throws {
    var probe = reader
    try probe.beginObject(in: text)
    while let name = try probe.nextName(in: text) {
      let value = try probe.readValue(in: text)
      guard text.extracting(name.content).reads("penstock") else { continue }
      guard text.extracting(value.token).reads("1") else {
        let found = String(decoding: text.extracting(value.token).extracting(first: 20))
        throw EnvelopeError(
          .unsupportedVersion, detail: "found \(found), known is \(EnvelopeParser.version)")
      }
      return
    }
    throw EnvelopeError(.malformed, detail: "no member \"penstock\"")
  }

  private mutating func envelope(
    _ text: Span<UInt8>, _ compression: Compression
  ) throws -> Envelope {
    var members = Members(envelopeMembers)
    var (gateway, site, route) = ("", String?.none, "")
    var journal: JournalID?
    var previous: PreviousJournal?
    var (isReplay, isBacklog) = (false, false)
    var epoch: Epoch?
    var (first, last) = (Sequence.none, Sequence.none)
    var events: [Event] = []
    var gaps: [Gap] = []
    var elided: [SequenceRange] = []

    try reader.beginObject(in: text)
    while let name = try reader.nextName(in: text) {
      switch try enter(name, &members, text) {
      case .gateway: gateway = try readString(text)
      case .site: site = try readString(text)
      case .route: route = try readString(text)
      case .journal: journal = JournalID(try readString(text))
      case .previous: previous = try readPrevious(text)
      case .replay: isReplay = try readBoolean(text, "replay")
      case .backlog: isBacklog = try readBoolean(text, "backlog")
      case .epoch: epoch = Epoch(try readString(text))
      case .first: first = try readSequence(text)
      case .last: last = try readSequence(text)
      case .events:
        try reader.beginArray(in: text)
        while try reader.nextElement(in: text) { events.append(try readEvent(text)) }
      case .gaps:
        try reader.beginArray(in: text)
        while try reader.nextElement(in: text) { gaps.append(try readGap(text)) }
      case .elided:
        try reader.beginArray(in: text)
        while try reader.nextElement(in: text) { elided.append(try readRange(text).range) }
      case nil: _ = try reader.readValue(in: text)
      }
    }
    try members.requireAll(at: reader.position)
    guard let journal else { throw malformed("\"journal\" is not a UUID") }
    guard let epoch else { throw malformed("\"epoch\" is not 16 hexadecimal digits") }
    guard first <= last else { throw malformed("\"first\" is after \"last\"") }
    let header = EnvelopeHeader(
      gateway: gateway, site: site ?? gateway, route: route, journal: journal,
      previous: previous, isReplay: isReplay, isBacklog: isBacklog, epoch: epoch, first: first,
      last: last)
    return Envelope(
      header: header, events: events, gaps: gaps, elided: elided, compression: compression)
  }

  private mutating func readBoolean(_ text: Span<UInt8>, _ name: String) throws -> Bool {
    let value = try reader.readValue(in: text)
    switch value.kind {
    case .true: return true
    case .false: return false
    default: throw malformed("\"\(name)\" is not true or false", at: value.token.lowerBound)
    }
  }

  private mutating func readPrevious(_ text: Span<UInt8>) throws -> PreviousJournal {
    let start = reader.position
    var members = Members(previousMembers)
    var journal: JournalID?
    var last: UInt64 = 0
    try reader.beginObject(in: text)
    while let name = try reader.nextName(in: text) {
      switch try enter(name, &members, text) {
      case .journal: journal = JournalID(try readString(text))
      case .last: last = try reader.readUInt64(in: text)
      case nil: _ = try reader.readValue(in: text)
      }
    }
    try members.requireAll(at: start)
    guard let journal else { throw malformed("\"journal\" is not a UUID", at: start) }
    // 0: it never gave one out.
    guard last < .max else { throw malformed("\"last\" is no sequence", at: start) }
    return PreviousJournal(id: journal, lastSequence: Sequence(last))
  }

  private mutating func readGap(_ text: Span<UInt8>) throws -> Gap {
    let start = reader.position
    let (range, reason, topic) = try readRange(text)
    guard let reason else { throw malformed("a gap without \"reason\"", at: start) }
    guard let known = GapReason(text: reason) else {
      throw malformed("a gap for the unknown reason \"\(reason)\"", at: start)
    }
    return Gap(range, known, topic: topic)
  }

  private mutating func readRange(
    _ text: Span<UInt8>
  ) throws -> (range: SequenceRange, reason: String?, topic: String?) {
    let start = reader.position
    var members = Members(rangeMembers)
    var (first, last) = (Sequence.none, Sequence.none)
    var count: UInt64?
    var (reason, topic) = (String?.none, String?.none)
    try reader.beginObject(in: text)
    while let name = try reader.nextName(in: text) {
      switch try enter(name, &members, text) {
      case .first: first = try readSequence(text)
      case .last: last = try readSequence(text)
      case .count: count = try reader.readUInt64(in: text)
      case .reason: reason = try readString(text)
      case .topic: topic = try readString(text)
      case nil: _ = try reader.readValue(in: text)
      }
    }
    try members.requireAll(at: start)
    guard first <= last else { throw malformed("\"first\" is after \"last\"", at: start) }
    let range = SequenceRange(first, last)
    guard count == nil || count == range.count else {
      throw malformed("\"count\" is not last - first + 1", at: start)
    }
    return (range, reason, topic)
  }

  private mutating func readEvent(_ text: Span<UInt8>) throws -> Event {
    let start = reader.position
    var members = Members(eventMembers)
    var event = Event(
      id: "", source: "", type: "", time: WallTime(nanoseconds: 0),
      clockSync: .synchronised, sequence: .none, topic: "",
      reason: nil, isRetained: false, qualityOfService: .atLeastOnce, contentType: nil,
      data: .none, attributes: [])
    try reader.beginObject(in: text)
    while let name = try reader.nextName(in: text) {
      switch try enter(name, &members, text) {
      case .specversion:
        let version = try reader.readString(in: text)
        guard text.extracting(version.content).reads("1.0") else {
          throw malformed("\"specversion\" is not \"1.0\"")
        }
      case .id: event.id = try readString(text)
      case .source: event.source = try readString(text)
      case .type: event.type = try readString(text)
      case .time: event.time = try readTime(text)
      case .sequence: event.sequence = try readTextSequence(text)
      case .topic: event.topic = try readString(text)
      case .reason: event.reason = try readString(text)
      case .retain: event.isRetained = try readString(text) == "true"
      case .clocksync: event.clockSync = try readClockSync(text)
      case .qos: event.qualityOfService = try readQualityOfService(text)
      case .datacontenttype: event.contentType = try readString(text)
      case .data:
        guard event.data == .none else { throw malformed("\"data\" comes twice") }
        let value = try reader.readValue(in: text)
        event.data = .json([UInt8](text.extracting(value.token)))
      case .base64:
        guard event.data == .none else { throw malformed("\"data\" comes twice") }
        event.data = .bytes(try readBase64(text))
      case nil: try readAttribute(string(name, text), into: &event, text)
      }
    }
    try members.requireAll(at: start)
    return event
  }

  /// Which member this is, nil for one that is not known; the first of its name.
  private mutating func enter<Name>(
    _ name: JSONMatch, _ members: inout Members<Name>, _ text: Span<UInt8>
  ) throws(EnvelopeError) -> Name? {
    let offset = name.token.lowerBound
    guard name.hasEscapes else {
      return try members.enter(text.extracting(name.content), at: offset)
    }
    scratch.removeAll(keepingCapacity: true)
    JSONString.appendUnescaped(text.extracting(name.content), to: &scratch)
    return try members.enter(scratch.span, at: offset)
  }

  /// A scalar under a name that is not ours; CloudEvents has no others.
  private mutating func readAttribute(
    _ name: String, into event: inout Event, _ text: Span<UInt8>
  ) throws {
    let value = try reader.readValue(in: text)
    switch value.kind {
    case .string:
      event.attributes.append(EventAttribute(name: name, value: string(value, text)))
    case .number, .true, .false:
      event.attributes.append(
        EventAttribute(name: name, value: String(decoding: text.extracting(value.token))))
    case .null, .object, .array: break
    }
  }

  private mutating func readString(_ text: Span<UInt8>) throws -> String {
    string(try reader.readString(in: text), text)
  }

  private mutating func string(_ token: JSONMatch, _ text: Span<UInt8>) -> String {
    guard token.hasEscapes else { return String(decoding: text.extracting(token.content)) }
    scratch.removeAll(keepingCapacity: true)
    JSONString.appendUnescaped(text.extracting(token.content), to: &scratch)
    return String(decoding: scratch.span)
  }

  private mutating func readSequence(_ text: Span<UInt8>) throws -> Sequence {
    try sequence(try reader.readUInt64(in: text))
  }

  private mutating func readTextSequence(_ text: Span<UInt8>) throws -> Sequence {
    let token = try reader.readString(in: text)
    guard let value = decimal(text.extracting(token.content)) else {
      throw malformed("\"sequence\" is not a decimal number")
    }
    return try sequence(value)
  }

  private func decimal(_ digits: Span<UInt8>) -> UInt64? {
    guard !digits.isEmpty else { return nil }
    var value: UInt64 = 0
    for index in digits.indices {
      let digit = digits[index] &- UInt8(ascii: "0")
      let (shifted, isLost) = value.multipliedReportingOverflow(by: 10)
      let (sum, isCarried) = shifted.addingReportingOverflow(UInt64(digit))
      guard digit < 10, !isLost, !isCarried else { return nil }
      value = sum
    }
    return value
  }

  /// The two ends of the range are never sequences, so that counting can neither wrap nor trap.
  private func sequence(_ value: UInt64) throws -> Sequence {
    guard value > 0, value < .max else { throw malformed("a sequence is 1 or more") }
    return Sequence(value)
  }

  private mutating func readTime(_ text: Span<UInt8>) throws -> WallTime {
    let token = try reader.readString(in: text)
    guard let time = WallTime(rfc3339: text.extracting(token.content)) else {
      throw malformed("\"time\" is not RFC 3339", at: token.token.lowerBound)
    }
    return time
  }

  /// A later version may say more than this one knows, and nothing that makes the time better.
  private mutating func readClockSync(_ text: Span<UInt8>) throws -> ClockSync {
    ClockSync(rawValue: try readString(text)) ?? .unsynchronised
  }

  private mutating func readQualityOfService(_ text: Span<UInt8>) throws -> QualityOfService {
    guard let value = UInt8(try readString(text)), let quality = QualityOfService(rawValue: value)
    else { throw malformed("\"qos\" is not 0, 1 or 2") }
    return quality
  }

  private mutating func readBase64(_ text: Span<UInt8>) throws -> [UInt8] {
    let token = try reader.readString(in: text)
    let content = text.extracting(token.content)
    let bytes: [UInt8]?
    if token.hasEscapes {
      // Legal, if odd: some writers escape every slash.
      scratch.removeAll(keepingCapacity: true)
      JSONString.appendUnescaped(content, to: &scratch)
      bytes = Base64.decode(scratch.span)
    } else {
      bytes = Base64.decode(content)
    }
    guard let bytes else {
      throw malformed("\"data_base64\" is not base64", at: token.token.lowerBound)
    }
    return bytes
  }

  private func malformed(_ detail: String, at offset: Int? = nil) -> EnvelopeError {
    EnvelopeError(.malformed, offset: offset ?? reader.position, detail: detail)
  }
}

extension Array where Element == UInt8 {
  init(_ bytes: Span<UInt8>) {
    self = []
    reserveCapacity(bytes.count)
    append(bytes)
  }
}
