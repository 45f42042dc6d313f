import GatewayCore
import Glibc

/// Which boot of the machine this is (proc(5), /proc/sys/kernel/random/boot_id). Monotonic times of
/// different boots must never be compared.
package struct BootID: Hashable, Sendable {
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// The running boot; `unknown` where /proc is not mounted, so that no two boots look alike by
  /// chance: an unknown boot is never equal to a recorded one.
  package static func current() -> BootID {
    guard let text = try? File.readSmall("/proc/sys/kernel/random/boot_id", byteCountMax: 64) else {
      return .unknown
    }
    var words: (UInt64, UInt64) = (0, 0)
    var nibbles = 0
    for byte in text {
      let nibble: UInt8
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): nibble = byte - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): nibble = byte - UInt8(ascii: "a") + 10
      default: continue
      }
      if nibbles < 16 {
        words.0 = words.0 << 4 | UInt64(nibble)
      } else {
        words.1 = words.1 << 4 | UInt64(nibble)
      }
      nibbles += 1
    }
    return nibbles == 32 ? BootID(high: words.0, low: words.1) : .unknown
  }

  package static let unknown = BootID(high: 0, low: 0)

  /// The kernel's 32 hexadecimal digits, without the dashes.
  package var text: String { Hexadecimal.text(high) + Hexadecimal.text(low) }
}
