/// Bytes of a valid stream, changed a little: what a broken peer, a broken cable or an attacker
/// sends.
enum ByteMutation {
  /// One to four changes: a bit, a byte, bytes taken away, doubled or put in, an extreme length.
  static func apply(
    to bytes: [UInt8], _ generator: inout some RandomNumberGenerator
  ) -> [UInt8] {
    var bytes = bytes
    for _ in 0..<Int.random(in: 1...4, using: &generator) where !bytes.isEmpty {
      let place = Int.random(in: bytes.indices, using: &generator)
      let length = min(Int.random(in: 1...8, using: &generator), bytes.count - place)
      switch Int.random(in: 0..<7, using: &generator) {
      case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
      case 1: bytes[place] = UInt8.random(in: .min ... .max, using: &generator)
      case 2: bytes.removeSubrange(place..<place + length)
      case 3: bytes.insert(contentsOf: bytes[place..<place + length], at: place)
      case 4:
        bytes.insert(
          contentsOf: (0..<length).map { _ in .random(in: .min ... .max, using: &generator) },
          at: place)
      case 5: bytes[place] = [0x00, 0x7f, 0x80, 0xff].randomElement(using: &generator) ?? 0
      default: bytes.removeSubrange(place...)
      }
    }
    return bytes
  }
}
