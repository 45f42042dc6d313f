import COpenSSL
package import GatewayCore
import Glibc
package import Platform

/// What a person wants to know of a certificate.
package struct Certificate: Sendable, Hashable {
  /// As RFC 2253 writes names: `CN=central.example.com,O=Example`.
  package var subject: String
  /// It must not be used before this.
  package var notBefore: WallTime
  /// It must not be used after this.
  package var notAfter: WallTime

  package init(
    subject: String, notBefore: WallTime = WallTime(nanoseconds: .min), notAfter: WallTime
  ) {
    self.subject = subject
    self.notBefore = notBefore
    self.notAfter = notAfter
  }
}

/// Certificates in a file.
package enum CertificateFile {
  /// Debian's bundle of all authorities has 220 KB.
  package static let byteCountMax = 4 << 20

  /// All certificates of a PEM file, in its order. What is not a certificate is passed over, as
  /// OpenSSL does it.
  package static func read(_ path: String) throws(SystemError) -> [Certificate] {
    parse(try File.readSmall(path, byteCountMax: byteCountMax))
  }

  package static func parse(_ pem: [UInt8]) -> [Certificate] {
    defer { ERR_clear_error() }
    return unsafe pem.withUnsafeBytes { bytes in
      var found: [Certificate] = []
      // Reads from the bytes themselves, so it must not outlive them.
      guard let source = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count)) else {
        return found
      }
      defer { unsafe BIO_free(source) }
      while let certificate = unsafe PEM_read_bio_X509(source, nil, { _, _, _, _ in 0 }, nil) {
        if let facts = unsafe OpenSSL.facts(of: certificate) { found.append(facts) }
        unsafe X509_free(certificate)
      }
      return found
    }
  }
}

extension OpenSSL {
  /// Of the certificates by which the server of an established session was verified, the one that
  /// ends first: its own, or one above. nil when there was none, as with a pre-shared key.
  static func verifiedCertificate(of session: OpaquePointer) -> Certificate? {
    guard let chain = unsafe SSL_get0_verified_chain(session) else { return nil }
    let certificates = unsafe (0..<penstock_chain_count(chain)).compactMap { index in
      unsafe penstock_chain_at(chain, index).flatMap { unsafe facts(of: $0) }
    }
    return certificates.min { $0.notAfter < $1.notAfter }
  }

  /// nil for a date that cannot be read.
  static func facts(of certificate: OpaquePointer) -> Certificate? {
    guard let notBefore = unsafe time(X509_get0_notBefore(certificate)),
      let notAfter = unsafe time(X509_get0_notAfter(certificate))
    else { return nil }
    return Certificate(
      subject: unsafe subject(of: certificate), notBefore: notBefore, notAfter: notAfter)
  }

  private static func time(_ encoded: UnsafePointer<ASN1_TIME>?) -> WallTime? {
    var time = unsafe tm()
    guard unsafe ASN1_TIME_to_tm(encoded, &time) == 1 else { return nil }
    let seconds = unsafe timegm(&time)
    // "No well-defined expiration" (RFC 5280, 4.1.2.5) is the year 9999: beyond 64-bit nanoseconds.
    let (nanoseconds, isTooLate) = Int64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
    return WallTime(nanoseconds: isTooLate ? .max : nanoseconds)
  }

  private static func subject(of certificate: OpaquePointer) -> String {
    guard let memory = unsafe BIO_new(BIO_s_mem()) else { return "" }
    defer { unsafe BIO_free(memory) }
    let flags = penstock_name_flags()
    guard unsafe X509_NAME_print_ex(memory, X509_get_subject_name(certificate), 0, flags) >= 0
    else { return "" }
    var text = [UInt8](repeating: 0, count: 512)
    let count = unsafe text.withUnsafeMutableBytes {
      unsafe BIO_read(memory, $0.baseAddress, Int32($0.count))
    }
    return String(decoding: text.prefix(Int(max(count, 0))), as: UTF8.self)
  }
}
