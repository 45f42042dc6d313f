import Envelope
package import GatewayCore
import Platform

/// When the certificates of a PEM file are valid (RFC 5280, section 4.1.2.5). Looks at the dates
/// and at nothing else; whether a certificate is any good, the handshake shows.
package struct CertificateDates: Sendable, Hashable {
  package struct Validity: Sendable, Hashable {
    package let notBefore: WallTime
    package let notAfter: WallTime
  }

  /// In the order of the file; never empty.
  package let certificates: [Validity]

  /// Largest file read: a bundle of all public authorities has a quarter of that.
  package static let byteCountMax = 1 << 20

  /// - Throws: `CertificateError` for a file that cannot be read or holds no certificate.
  package init(path: String) throws(CertificateError) {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try File.readSmall(path, byteCountMax: Self.byteCountMax)
    } catch {
      throw CertificateError("cannot be read (\(error.reason))")
    }
    try self.init(pem: String(decoding: bytes, as: UTF8.self))
  }

  package init(pem: String) throws(CertificateError) {
    var found: [Validity] = []
    var body: [UInt8]?
    for line in pem.split(whereSeparator: \.isNewline) {
      if line.hasPrefix("-----BEGIN "), line.hasSuffix("CERTIFICATE-----") {
        body = []
      } else if line.hasPrefix("-----END ") {
        if let text = body {
          guard let der = Base64.decode(text.span), let validity = Validity(der: der.span) else {
            throw CertificateError("holds a certificate that is damaged")
          }
          found.append(validity)
        }
        body = nil
      } else {
        body?.append(contentsOf: line.utf8.filter { $0 > 0x20 })
      }
    }
    guard !found.isEmpty else { throw CertificateError("holds no certificate in PEM form") }
    certificates = found
  }
}

package struct CertificateError: Error, Sendable, Hashable, CustomStringConvertible {
  package let description: String

  init(_ description: String) { self.description = description }
}

extension CertificateDates.Validity {
  /// Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version OPTIONAL, serialNumber,
  /// signature, issuer, validity SEQUENCE { notBefore, notAfter }, … }, … }
  init?(der bytes: Span<UInt8>) {
    var outer = DERReader(0..<bytes.count)
    guard let certificate = outer.next(0x30, in: bytes) else { return nil }
    var inside = DERReader(certificate)
    guard let signed = inside.next(0x30, in: bytes) else { return nil }
    var fields = DERReader(signed)
    if fields.peek(bytes) == 0xa0 { _ = fields.next(0xa0, in: bytes) }
    guard fields.next(0x02, in: bytes) != nil, fields.next(0x30, in: bytes) != nil,
      fields.next(0x30, in: bytes) != nil, let validity = fields.next(0x30, in: bytes)
    else { return nil }
    var times = DERReader(validity)
    guard let notBefore = times.nextTime(in: bytes), let notAfter = times.nextTime(in: bytes)
    else { return nil }
    self.init(notBefore: notBefore, notAfter: notAfter)
  }
}

/// Walks the elements of one DER value (X.690, section 8.1). The bytes are a file that somebody
/// wrote: every length is checked against what is there.
private struct DERReader {
  private var position: Int
  private let end: Int

  /// Reads `range` of the bytes that are lent to each call.
  init(_ range: Range<Int>) {
    position = range.lowerBound
    end = range.upperBound
  }

  func peek(_ bytes: Span<UInt8>) -> UInt8? { position < end ? bytes[position] : nil }

  /// The content of the next element, which must have this tag.
  mutating func next(_ tag: UInt8, in bytes: Span<UInt8>) -> Range<Int>? {
    guard peek(bytes) == tag, position + 1 < end else { return nil }
    var start = position + 2
    var count = Int(bytes[position + 1])
    if count >= 0x80 {
      let digits = count - 0x80
      guard (1...4).contains(digits), start + digits <= end else { return nil }
      count = 0
      for index in start..<start + digits { count = count << 8 | Int(bytes[index]) }
      start += digits
    }
    guard count <= end - start else { return nil }
    position = start + count
    return start..<position
  }

  /// UTCTime (two digits of the year) or GeneralizedTime, both in UTC to the second.
  mutating func nextTime(in bytes: Span<UInt8>) -> WallTime? {
    let isShort = peek(bytes) == 0x17
    guard let range = next(isShort ? 0x17 : 0x18, in: bytes) else { return nil }
    var digits: [UInt8] = []
    for index in range { digits.append(bytes[index]) }
    guard digits.count == (isShort ? 13 : 15), digits.last == UInt8(ascii: "Z") else { return nil }
    // RFC 5280: years from 50 on are of the last century.
    if isShort { digits = (digits[0] < UInt8(ascii: "5") ? [0x32, 0x30] : [0x31, 0x39]) + digits }
    let text = String(decoding: digits, as: UTF8.self)
    func part(_ first: Int, _ count: Int) -> Substring {
      text[text.index(text.startIndex, offsetBy: first)...].prefix(count)
    }
    let time =
      "\(part(0, 4))-\(part(4, 2))-\(part(6, 2))T\(part(8, 2)):\(part(10, 2)):\(part(12, 2))Z"
    return WallTime(rfc3339: Array(time.utf8).span)
  }
}
