import Glibc
import Platform

/// The socket that systemd would listen on, at a path.
struct FakeSystemd: ~Copyable {
  private let descriptor: FileDescriptor

  init(path: String) throws {
    let raw = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard raw >= 0 else { throw SystemError("socket") }
    let descriptor = FileDescriptor(owning: raw)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) {
      unsafe $0.copyBytes(from: Array(path.utf8))
    }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + path.utf8.count)
    let code = unsafe withUnsafePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe bind(raw, $0, length)
      }
    }
    guard code == 0 else { throw SystemError("bind \(path)") }
    self.descriptor = descriptor
  }

  /// Everything that has arrived since the last look.
  func take() -> [String] {
    var messages: [String] = []
    var bytes = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = unsafe recv(descriptor.raw, &bytes, bytes.count, Int32(MSG_DONTWAIT))
      if count < 0 { return messages }
      messages.append(String(decoding: bytes[..<count], as: UTF8.self))
    }
  }
}
