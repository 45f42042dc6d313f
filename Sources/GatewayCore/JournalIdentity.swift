/// The random identity a journal file gets when it is created; printed as a lower-case UUID
/// (RFC 9562, version 4).
package struct JournalID: Hashable, Sendable, CustomStringConvertible {
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// A fresh random identity.
  package static func random(
    _ next: () -> UInt64 = { .random(in: .min ... .max) }
  ) -> JournalID {
    JournalID(
      high: (next() & 0xffff_ffff_ffff_0fff) | 0x4000,
      low: (next() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000)
  }

  /// Accepts exactly the form that `description` prints.
  package init?(_ text: some StringProtocol) {
    let bytes = Array(text.utf8)
    guard bytes.count == 36 else { return nil }
    var words: (UInt64, UInt64) = (0, 0)
    var nibbles = 0
    for (index, byte) in bytes.enumerated() {
      if index == 8 || index == 13 || index == 18 || index == 23 {
        guard byte == UInt8(ascii: "-") else { return nil }
        continue
      }
      guard let nibble = Hexadecimal.value(ofLowerCase: byte) else { return nil }
      if nibbles < 16 {
        words.0 = words.0 << 4 | UInt64(nibble)
      } else {
        words.1 = words.1 << 4 | UInt64(nibble)
      }
      nibbles += 1
    }
    self.init(high: words.0, low: words.1)
  }

  package var description: String {
    let digits = Hexadecimal.text(high) + Hexadecimal.text(low)
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index == 8 || index == 12 || index == 16 || index == 20 { text.append("-") }
      text.append(digit)
    }
    return text
  }
}

/// Random per opening of a journal. `(journal, epoch, sequence)` names one record for good even
/// when a card was cloned or an older image restored, because the two lives then differ in epoch.
package struct Epoch: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  package let rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Never 0.
  package static func random(_ next: () -> UInt64 = { .random(in: .min ... .max) }) -> Epoch {
    Epoch(rawValue: max(next(), 1))
  }

  /// Accepts exactly the 16 hexadecimal digits that `description` prints.
  package init?(_ text: some StringProtocol) {
    guard text.utf8.count == 16 else { return nil }
    var value: UInt64 = 0
    for byte in text.utf8 {
      guard let nibble = Hexadecimal.value(ofLowerCase: byte) else { return nil }
      value = value << 4 | UInt64(nibble)
    }
    self.init(rawValue: value)
  }

  package var description: String { Hexadecimal.text(rawValue) }
}
