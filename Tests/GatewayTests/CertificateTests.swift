// Goal: the dates of a certificate are read right, whatever the file. Method: certificates made by
// openssl with known dates, and files that are none. Cannot show: forms openssl does not write.

import GatewayCore
import Mosquitto
import Platform
import Testing

@testable import Gateway

private let openssl = Environment.executable(named: "openssl")

@Suite("certificate dates", .enabled(if: openssl != nil, "openssl is not installed"))
final class CertificateTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory(prefix: "certificates") }

  /// A self-signed certificate for so many days from now on; negative: ended.
  private func make(_ name: String, days: Int, algorithm: String = "rsa:2048") throws -> String {
    let path = "\(directory.path)/\(name).pem"
    var process = try ChildProcess(
      executable: try #require(openssl),
      arguments: [
        "req", "-x509", "-newkey", algorithm, "-nodes", "-keyout", "/dev/null", "-out", path,
        "-days", "\(days)", "-subj", "/CN=\(name)", "-addext", "subjectAltName=DNS:\(name)",
      ], environment: [:], standardOutput: .discard, standardError: .discard)
    #expect(try process.wait(atMost: .seconds(60)) == .exited(code: 0))
    return path
  }

  private func days(_ count: Int) -> Int64 { Int64(count) * 86_400_000_000_000 }

  @Test(
    "until when it is good, to the second; years beyond 2049 have another form",
    arguments: [
      1, 400, 20_000,
    ])
  func dates(dayCount: Int) throws {
    let before = Clock.wall()
    let certificates = try CertificateFile.read(try make("a", days: dayCount))
    let after = Clock.wall()
    let validity = try #require(certificates.first)
    #expect(certificates.count == 1)
    let second: Int64 = 1_000_000_000
    #expect(validity.notBefore.nanoseconds >= before.nanoseconds - second)
    #expect(validity.notBefore.nanoseconds <= after.nanoseconds + second)
    #expect(validity.notAfter.nanoseconds - validity.notBefore.nanoseconds == days(dayCount))
  }

  @Test("judged by what is left; a bundle by all it holds, one's own by the first")
  func judgement() throws {
    let long = try make("long", days: 400)
    let short = try make("short", days: 10)
    let now = Clock.wall()
    func judge(_ path: String, isOwn: Bool = true, daysAhead: Int = 0) -> CertificateJudgement {
      CertificateJudgement(
        path: path, isOwn: isOwn, now: WallTime(nanoseconds: now.nanoseconds + days(daysAhead)))
    }
    #expect(judge(long).level == .fine)
    #expect(judge(short).level == .warning)
    #expect(judge(short).text.contains("ends in 9 days"))
    #expect(judge(short, daysAhead: 11).level == .error)
    #expect(judge(long, daysAhead: -5).level == .error)
    #expect(judge(long, daysAhead: -5).text.contains("clock"))
    let bundle = directory.path + "/bundle.pem"
    try File.replace(
      bundle,
      with: try File.readSmall(long, byteCountMax: 1 << 20)
        + File.readSmall(short, byteCountMax: 1 << 20))
    #expect(try CertificateFile.read(bundle).count == 2)
    #expect(judge(bundle).level == .fine)
    #expect(judge(bundle, isOwn: false).level == .warning)
    #expect(judge(bundle, isOwn: false, daysAhead: 11).level == .warning)
    #expect(judge(bundle, isOwn: false, daysAhead: 500).level == .error)
  }

  @Test("what is no certificate is an error in words, whatever is cut or changed")
  func damaged() throws {
    let path = try make("whole", days: 30)
    let text = String(decoding: try File.readSmall(path, byteCountMax: 1 << 20), as: UTF8.self)
    func judge(_ path: String) -> CertificateJudgement {
      CertificateJudgement(path: path, isOwn: true, now: Clock.wall())
    }
    #expect(judge(path + ".none").level == .error)
    #expect(judge(path + ".none").text.contains("cannot be read"))
    let empty = directory.path + "/empty.pem"
    for body in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
      try File.replace(empty, with: Array(body.utf8))
      #expect(judge(empty).level == .error)
      #expect(judge(empty).text.contains("holds no certificate"))
    }
    // A body of any length: no certificate, never the end of the process.
    let lines = text.split(separator: "\n")
    for count in 1..<lines.count - 1 {
      let cut = lines[..<count].joined(separator: "\n") + "\n-----END CERTIFICATE-----\n"
      #expect(CertificateFile.parse(Array(cut.utf8)).isEmpty)
    }
  }
}
