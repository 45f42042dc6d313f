import Platform

/// Throw-away certificates, made by the `openssl` command.
package enum TestCertificates {
  /// A self-signed authority: `<name>.pem` and `<name>.key` in `directory`.
  package static func makeAuthority(
    _ name: String, days: Int = 2, in directory: String
  ) throws {
    try openssl(
      ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-days", "\(days)", "-subj", "/CN=\(name)", "-keyout", "\(directory)/\(name).key"]
        + ["-out", "\(directory)/\(name).pem"], in: directory)
  }

  /// A certificate signed by `authority` for `alternativeNames`, such as `IP:127.0.0.1`, and its
  /// key: `<file>.pem` and `<file>.key`, by default the name, which is the subject. Its `days`
  /// begin `madeDaysAgo`; other than 0 that needs `faketime`.
  package static func makeCertificate(
    _ name: String, authority: String, alternativeNames: String, days: Int = 2,
    madeDaysAgo: Int = 0, file: String? = nil, in directory: String
  ) throws {
    let file = "\(directory)/\(file ?? name)"
    try openssl(
      ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-days", "\(days)", "-subj", "/CN=\(name)", "-keyout", "\(file).key.made"]
        + ["-CA", "\(directory)/\(authority).pem", "-CAkey", "\(directory)/\(authority).key"]
        + ["-addext", "subjectAltName=\(alternativeNames)"]
        + ["-addext", "basicConstraints=critical,CA:FALSE", "-out", "\(file).pem.made"],
      daysAgo: madeDaysAgo, in: directory)
    // As a rotation should do it: no reader finds half a file.
    for end in ["key", "pem"] {
      let made = try File.readSmall("\(file).\(end).made", byteCountMax: 1 << 16)
      try File.replace("\(file).\(end)", with: made)
    }
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

  private static func openssl(
    _ arguments: [String], daysAgo: Int = 0, in directory: String
  ) throws {
    var command = ["openssl"] + arguments
    if daysAgo != 0 { command = ["faketime", "-f", "-\(daysAgo)d"] + command }
    guard let program = Environment.executable(named: command[0]) else {
      throw TestFailure("\(command[0]) is not installed: apt-get install \(command[0])")
    }
    let log = "\(directory)/openssl.log"
    var process = try ChildProcess(
      executable: program, arguments: Array(command.dropFirst()),
      standardOutput: .file(path: log), standardError: .file(path: log))
    guard try process.wait(atMost: .seconds(30)) == .exited(code: 0) else {
      let text = (try? File.readSmall(log, byteCountMax: 1 << 20)) ?? []
      throw TestFailure("openssl failed: \(String(decoding: text, as: UTF8.self))")
    }
  }
}
