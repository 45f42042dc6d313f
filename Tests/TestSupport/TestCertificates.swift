import Platform

/// Throw-away certificates, made by the `openssl` command.
package enum TestCertificates {
  /// A self-signed authority: `<name>.pem` and `<name>.key` in `directory`.
  package static func makeAuthority(_ name: String, in directory: String) throws {
    try openssl(
      ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-days", "2", "-subj", "/CN=\(name)", "-keyout", "\(directory)/\(name).key"]
        + ["-out", "\(directory)/\(name).pem"], in: directory)
  }

  /// A certificate signed by `authority` for `alternativeNames`, such as `IP:127.0.0.1`.
  package static func makeCertificate(
    _ name: String, authority: String, alternativeNames: String, in directory: String
  ) throws {
    try openssl(
      ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-days", "2", "-subj", "/CN=\(name)", "-keyout", "\(directory)/\(name).key"]
        + ["-CA", "\(directory)/\(authority).pem", "-CAkey", "\(directory)/\(authority).key"]
        + ["-addext", "subjectAltName=\(alternativeNames)"]
        + ["-addext", "basicConstraints=critical,CA:FALSE", "-out", "\(directory)/\(name).pem"],
      in: directory)
  }

  /// As `makeCertificate`, but its time was over yesterday.
  package static func makeExpiredCertificate(
    _ name: String, authority: String, alternativeNames: String, in directory: String
  ) throws {
    try openssl(
      ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-subj", "/CN=\(name)", "-keyout", "\(directory)/\(name).key"]
        + ["-addext", "subjectAltName=\(alternativeNames)", "-out", "\(directory)/\(name).csr"],
      in: directory)
    try openssl(
      ["x509", "-req", "-in", "\(directory)/\(name).csr", "-days", "-1"]
        + ["-CA", "\(directory)/\(authority).pem", "-CAkey", "\(directory)/\(authority).key"]
        + ["-copy_extensions", "copy", "-out", "\(directory)/\(name).pem"], in: directory)
  }

  private static func openssl(_ arguments: [String], in directory: String) throws {
    guard let program = Environment.executable(named: "openssl") else {
      throw TestFailure("openssl is not installed: apt-get install openssl")
    }
    let log = "\(directory)/openssl.log"
    var process = try ChildProcess(
      executable: program, arguments: arguments, standardOutput: .file(path: log),
      standardError: .file(path: log))
    guard try process.wait(atMost: .seconds(30)) == .exited(code: 0) else {
      let text = (try? File.readSmall(log, byteCountMax: 1 << 20)) ?? []
      throw TestFailure("openssl failed: \(String(decoding: text, as: UTF8.self))")
    }
  }
}
