// Goal: a certificate is good for the names in it and for no others. Method: OpenSSL verifies real
// certificates by the rules of the very context that a connection uses, without a network, because
// names such as broker.com do not resolve to a test. The handshake as a whole: TLSTests.

import COpenSSL
import GatewayCore
import Platform
import Synchronization
import TestSupport
import Testing

@testable import Mosquitto

/// What a connection told of its server's certificates.
final class Seen: Sendable {
  private let certificates = Mutex<[Certificate]>([])
  var all: [Certificate] { certificates.withLock { $0 } }
  func note(_ certificate: Certificate) { certificates.withLock { $0.append(certificate) } }
}

@Suite("names in certificates")
struct VerificationTests {
  /// Whether a connection to `host` would take this server certificate.
  private static func accepts(_ file: String, authority: String, host: String) throws -> Bool {
    let context = try TLSContext(TLSOptions(authorityFile: authority), host: host)
    let pem = try File.readSmall(file, byteCountMax: 1 << 16)
    return try unsafe pem.withUnsafeBytes { bytes in
      let source = unsafe try #require(BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count)))
      defer { unsafe BIO_free(source) }
      let leaf = unsafe try #require(PEM_read_bio_X509(source, nil, nil, nil))
      defer { unsafe X509_free(leaf) }
      let check = unsafe try #require(X509_STORE_CTX_new())
      defer { unsafe X509_STORE_CTX_free(check) }
      unsafe X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context.raw), leaf, nil)
      // As ssl_verify_cert_chain does it: the session inherits these rules from its context.
      unsafe X509_VERIFY_PARAM_set1(
        X509_STORE_CTX_get0_param(check), SSL_CTX_get0_param(context.raw))
      defer { ERR_clear_error() }
      return unsafe X509_verify_cert(check) == 1
    }
  }

  @Test(
    "a wildcard stands for one whole level of a domain below the top",
    arguments: [
      ("DNS:broker.example.com", "broker.example.com", true),
      ("DNS:broker.example.com", "BROKER.example.com", true),
      ("DNS:broker.example.com", "other.example.com", false),
      ("DNS:broker.example.com", "example.com", false),
      ("DNS:*.example.com", "broker.example.com", true),
      ("DNS:*.example.com", "a.broker.example.com", false),
      ("DNS:*.example.com", "example.com", false),
      // libmosquitto 2.0.11 by itself takes this one.
      ("DNS:*.com", "broker.com", false),
      ("DNS:*", "broker", false),
      ("DNS:b*.example.com", "broker.example.com", false),
      ("IP:192.0.2.1", "192.0.2.1", true),
      ("IP:192.0.2.1", "192.0.2.2", false),
      ("DNS:192.0.2.1", "192.0.2.1", false),
      ("IP:2001:db8::1", "2001:db8:0::1", true),
    ])
  func names(alternativeName: String, host: String, isAccepted: Bool) throws {
    let directory = try TemporaryDirectory(prefix: "penstock-test-names")
    let path = directory.path
    try TestCertificates.makeAuthority("ca", in: path)
    try TestCertificates.makeCertificate(
      "server", authority: "ca", alternativeNames: alternativeName, in: path)
    let isGood = try Self.accepts(
      "\(path)/server.pem", authority: "\(path)/ca.pem", host: host)
    #expect(isGood == isAccepted)
  }

  @Test("text around certificates is passed over, and a file may hold none")
  func files() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-test-names")
    let path = directory.path
    try TestCertificates.makeAuthority("one", in: path)
    try TestCertificates.makeAuthority("two", in: path)
    let one = try File.readSmall("\(path)/one.pem", byteCountMax: 1 << 16)
    let two = try File.readSmall("\(path)/two.pem", byteCountMax: 1 << 16)
    let both = Array("# ours\n".utf8) + one + Array("\n# theirs\n".utf8) + two
    #expect(CertificateFile.parse(both).map(\.subject) == ["CN=one", "CN=two"])
    #expect(CertificateFile.parse([]).isEmpty)
    #expect(CertificateFile.parse(Array("no certificate".utf8)).isEmpty)
    #expect(CertificateFile.parse(one.dropLast(80) + [0, 255]).isEmpty)
  }

  @Test("a key file holds 16 to 64 bytes in hexadecimal and nothing else")
  func keys() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-test-names")
    let path = directory.path + "/psk"
    let good = String(repeating: "0aF1", count: 8)
    for (text, count) in [(good, 16), (good + "\r\n", 16), (good + good + good + good, 64)] {
      try File.replace(path, with: Array(text.utf8))
      #expect(try PresharedKeyFile.read(path).count == count)
    }
    for text in ["", "0a", good + "0", good + " ", "x" + good, good + good + good + good + "00"] {
      try File.replace(path, with: Array(text.utf8))
      #expect(throws: TLSContext.Failure.self) { try PresharedKeyFile.read(path) }
    }
  }
}

@Suite("recalling connections")
struct RecallTests {
  private static func at(_ seconds: Int64) -> MonotonicTime {
    MonotonicTime(nanoseconds: seconds * 1_000_000_000)
  }

  @Test("only a connection that stands at a later endpoint since before goes back")
  func firstAccepts() {
    let recall = Recall()
    #expect(!recall.isAway)
    recall.entered(endpoint: 0)
    #expect(!recall.isAway)
    recall.entered(endpoint: 2)
    #expect(recall.isAway)
    #expect(recall.reason(at: 2, since: Self.at(10)) == nil)
    recall.firstAccepts(at: Self.at(20))
    #expect(recall.reason(at: 2, since: Self.at(10)) == .firstAccepts)
    #expect(recall.reason(at: 0, since: Self.at(10)) == nil)
    // It went back, was not taken, and came here again: not before the next probe.
    #expect(recall.reason(at: 1, since: Self.at(21)) == nil)
    recall.left(endpoint: 2)
    recall.left(endpoint: 0)
    #expect(!recall.isAway)
  }

  @Test("replaced files recall every connection that began before")
  func renewed() {
    let recall = Recall()
    recall.renew(at: Self.at(20))
    #expect(recall.reason(at: 0, since: Self.at(10)) == .renewed)
    #expect(recall.reason(at: 1, since: Self.at(10)) == .renewed)
    #expect(recall.reason(at: 0, since: Self.at(20)) == nil)
  }
}
