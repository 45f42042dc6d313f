import Glibc
package import Platform

/// One GET over one connection to 127.0.0.1.
package enum LoopbackHTTP {
  /// nil: nothing listens there, or what does is not HTTP.
  package static func get(_ path: String, port: UInt16) throws -> (code: Int, body: String)? {
    guard let descriptor = try connection(port: port) else { return nil }
    let raw = descriptor.raw
    var limit = timeval(tv_sec: 10, tv_usec: 0)
    unsafe setsockopt(
      raw, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    let request = Array(
      "GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".utf8)
    guard unsafe send(raw, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
      return nil
    }
    var answer: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      guard let count = try? descriptor.read(into: &chunk) else { return nil }
      if count == 0 { break }
      answer += chunk[..<count]
    }
    let text = String(decoding: answer, as: UTF8.self)
    // A line break of HTTP is one Character.
    guard let code = text.split(separator: " ").dropFirst().first.flatMap({ Int($0) }),
      let body = text.firstRange(of: "\r\n\r\n")
    else { return nil }
    return (code, String(text[body.upperBound...]))
  }

  /// A TCP connection to 127.0.0.1; nil: nothing listens there.
  package static func connection(port: UInt16) throws -> FileDescriptor? {
    let raw = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard raw >= 0 else { throw SystemError("socket") }
    let descriptor = FileDescriptor(owning: raw)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr = in_addr(s_addr: in_addr_t(0x7f00_0001).bigEndian)
    let connected = unsafe withUnsafePointer(to: &address) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe connect(raw, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    return connected == 0 ? consume descriptor : nil
  }
}
