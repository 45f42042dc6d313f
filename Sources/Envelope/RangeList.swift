import GatewayCore
import JSONScanning

/// The text between the brackets of `gaps` or `elided`. A range that adjoins the one before, for
/// the same reason and of the same source, extends it: a run of a thousand single sequences is one
/// element.
struct RangeList {
  /// The last element, which a next range may extend.
  private struct Tail {
    let range: SequenceRange
    let reason: GapReason?
    let topic: String?
    /// Where its text begins.
    let offset: Int
  }

  private(set) var text: [UInt8] = []
  private var tail: Tail?

  mutating func removeAll() {
    text.removeAll(keepingCapacity: true)
    tail = nil
  }

  mutating func append(_ range: SequenceRange, _ reason: GapReason?, topic: String? = nil) {
    if let tail, tail.reason == reason, tail.topic == topic, tail.range.last.next == range.first {
      write(
        Tail(
          range: SequenceRange(tail.range.first, range.last), reason: reason, topic: topic,
          offset: tail.offset))
    } else {
      if tail != nil { text.append(UInt8(ascii: ",")) }
      write(Tail(range: range, reason: reason, topic: topic, offset: text.count))
    }
  }

  private mutating func write(_ tail: Tail) {
    text.removeLast(text.count - tail.offset)
    text.append(ascii: "{\"first\":")
    text.append(decimal: tail.range.first.rawValue)
    text.append(ascii: ",\"last\":")
    text.append(decimal: tail.range.last.rawValue)
    text.append(ascii: ",\"count\":")
    text.append(decimal: tail.range.count)
    if let reason = tail.reason {
      text.append(ascii: ",\"reason\":\"")
      text.append(utf8: reason.text)
      text.append(UInt8(ascii: "\""))
    }
    if let topic = tail.topic {
      text.append(ascii: ",\"topic\":")
      JSONString.append(topic, to: &text)
    }
    text.append(UInt8(ascii: "}"))
    self.tail = tail
  }
}
