import Observability

extension ObservabilityOptions {
  /// ## Configuration keys
  /// `listen` (`none`, or address and port), `allow_remote`.
  mutating func read(_ section: inout SectionReader) {
    section.read("listen", .listenAddress, none: "none", into: &listen)
    var allowsRemote = false
    section.read("allow_remote", .boolean, into: &allowsRemote)
    if let listen, !listen.isLoopback, !allowsRemote {
      section.findings.error(
        at: section.keyPath("listen"),
        "anybody who reaches this machine could read it, without a password; accepted: a loopback "
          + "address, or allow_remote: true beside it")
    }
  }
}

extension ListenAddress {
  var isLoopback: Bool { HostPort.isLoopback(host) }
}

extension ScalarKind where Value == ListenAddress {
  fileprivate static var listenAddress: ScalarKind {
    ScalarKind(accepted: "a numeric address and port such as 127.0.0.1:9464 or [::1]:9464") {
      (text) throws(Rejection) in
      let (host, portText) = try HostPort.split(Substring(text))
      guard HostPort.isIPv4(host) || HostPort.isIPv6(host) else {
        throw Rejection("has no numeric address")
      }
      guard let portText, let port = HostPort.port(portText) else {
        throw Rejection("has no port from 0 to 65535")
      }
      return ListenAddress(host: host, port: port)
    }
  }
}
