import GatewayCore
import JSONScanning

enum EnvelopeMember: String, CaseIterable, Sendable {
  case gateway, site, route, journal, previous, replay, backlog, epoch, first, last, events, gaps
  case elided
}

enum PreviousMember: String, CaseIterable, Sendable { case journal, last }

enum RangeMember: String, CaseIterable, Sendable { case first, last, count, reason, topic }

enum EventMember: String, CaseIterable, Sendable {
  // In the order in which our encoder writes them.
  case specversion, id, source, type, time, sequence, topic, reason, retain, clocksync, qos
  case datacontenttype, data
  case base64 = "data_base64"
}

let envelopeMembers = MemberTable<EnvelopeMember>(
  required: [.gateway, .route, .journal, .epoch, .first, .last])
let previousMembers = MemberTable<PreviousMember>(required: [.journal, .last])
let rangeMembers = MemberTable<RangeMember>(required: [.first, .last])
let eventMembers = MemberTable<EventMember>(
  required: [.specversion, .id, .source, .type, .time, .sequence, .topic])

/// The names of an object's members, as bytes. At most 32.
struct MemberTable<Name: CaseIterable & RawRepresentable<String> & Sendable>: Sendable {
  /// All names one behind the other: an array of arrays would be retained at each look.
  fileprivate let text: [UInt8]
  fileprivate let ends: [Int]
  fileprivate let names: [Name]
  fileprivate let required: UInt32

  init(required: [Name]) {
    let wanted = Set(required.map(\.rawValue))
    var (text, ends, bits) = ([UInt8](), [Int](), UInt32(0))
    for name in Name.allCases {
      if wanted.contains(name.rawValue) { bits |= 1 << ends.count }
      text.append(contentsOf: name.rawValue.utf8)
      ends.append(text.count)
    }
    precondition(ends.count <= 32, "a bit for each")
    (self.text, self.ends, names, self.required) = (text, ends, Array(Name.allCases), bits)
  }
}

/// Which members of one object have come: each at most once, the required ones at least once.
/// Allocates nothing for names that are known; looks first at the one behind the last.
struct Members<Name: CaseIterable & RawRepresentable<String> & Sendable> {
  private let table: MemberTable<Name>
  private var seen: UInt32 = 0
  private var next = 0
  private var others: Set<[UInt8]> = []

  init(_ table: MemberTable<Name>) { self.table = table }

  /// The member of this name; nil for one that is not in the table.
  mutating func enter(_ name: Span<UInt8>, at offset: Int) throws(EnvelopeError) -> Name? {
    guard let index = place(of: name) else {
      guard others.insert([UInt8](name)).inserted else { throw twice(name, offset) }
      return nil
    }
    guard seen & 1 << index == 0 else { throw twice(name, offset) }
    seen |= 1 << index
    next = index + 1 == table.ends.count ? 0 : index + 1
    return table.names[index]
  }

  private func place(of name: Span<UInt8>) -> Int? {
    let count = table.ends.count
    let text = table.text.span
    for step in 0..<count {
      var index = next + step
      if index >= count { index -= count }
      let start = index == 0 ? 0 : table.ends[index - 1]
      guard name.count == table.ends[index] - start,
        name.equals(text.extracting(start..<table.ends[index]))
      else { continue }
      return index
    }
    return nil
  }

  private func twice(_ name: Span<UInt8>, _ offset: Int) -> EnvelopeError {
    EnvelopeError(
      .malformed, offset: offset, detail: "\"\(String(decoding: name))\" comes twice")
  }

  func requireAll(at offset: Int) throws(EnvelopeError) {
    let absent = table.required & ~seen
    guard absent != 0 else { return }
    let name = table.names[absent.trailingZeroBitCount].rawValue
    throw EnvelopeError(.malformed, offset: offset, detail: "no member \"\(name)\"")
  }
}
