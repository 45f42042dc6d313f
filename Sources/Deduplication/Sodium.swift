// The C boundary of this module: two functions of libsodium. Neither allocates, keeps a pointer or
// needs `sodium_init` (they have one portable implementation each).

import CSodium

enum Sodium {
  /// 16 bytes as two words, little-endian in memory, plain numbers here.
  struct Words: Sendable {
    var low: UInt64
    var high: UInt64
  }

  /// SipHash-2-4 with 128 bits of output (`crypto_shorthash_siphashx24`).
  static func sipHash(_ bytes: Span<UInt8>, key: Words) -> Words {
    var output = (UInt64(0), UInt64(0))
    var key = (key.low.littleEndian, key.high.littleEndian)
    let code = unsafe withUnsafeMutablePointer(to: &output) { output in
      unsafe output.withMemoryRebound(to: UInt8.self, capacity: 16) { output in
        unsafe withUnsafeMutablePointer(to: &key) { key in
          unsafe key.withMemoryRebound(to: UInt8.self, capacity: 16) { key in
            unsafe bytes.withUnsafeBufferPointer { input in
              unsafe crypto_shorthash_siphashx24(
                output, input.baseAddress, UInt64(input.count), key)
            }
          }
        }
      }
    }
    precondition(code == 0, "SipHash has no way to fail")
    return Words(low: UInt64(littleEndian: output.0), high: UInt64(littleEndian: output.1))
  }

  /// Appends the 64 lower-case hexadecimal digits of the SHA-256 of `bytes` (`crypto_hash_sha256`).
  static func appendSHA256(of bytes: Span<UInt8>, to text: inout [UInt8]) {
    var output = (UInt64(0), UInt64(0), UInt64(0), UInt64(0))
    let code = unsafe withUnsafeMutablePointer(to: &output) { output in
      unsafe output.withMemoryRebound(to: UInt8.self, capacity: 32) { output in
        unsafe bytes.withUnsafeBufferPointer { input in
          unsafe crypto_hash_sha256(output, input.baseAddress, UInt64(input.count))
        }
      }
    }
    precondition(code == 0, "SHA-256 has no way to fail")
    append(hexadecimal: output.0.bigEndian, to: &text)
    append(hexadecimal: output.1.bigEndian, to: &text)
    append(hexadecimal: output.2.bigEndian, to: &text)
    append(hexadecimal: output.3.bigEndian, to: &text)
  }

  private static func append(hexadecimal value: UInt64, to text: inout [UInt8]) {
    for shift in stride(from: UInt64(60), through: 0, by: -4) {
      let nibble = UInt8(value >> shift & 0xf)
      text.append(nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "a") + nibble - 10)
    }
  }
}
