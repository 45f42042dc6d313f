// Goal: people hear of a certificate that ends at 30, 7 and 1 days and at the end, once each, and
// again for a new certificate. Method: real certificate files, judged at made-up times. Cannot
// show: connections with such certificates (IntegrationTests/CertificateTests).

import GatewayConfiguration
import GatewayCore
import Logging
import Mosquitto
import Observability
import Platform
import TestSupport
import Testing

@testable import Gateway

@Suite("certificates that end")
struct CertificateWatchTests {
  private static let day: Int64 = 86_400_000_000_000

  @Test(
    "the steps: 30, 7 and 1 days before the end, and the end",
    arguments: [
      (31 * day, CertificateStage.fine), (30 * day + 1, .fine), (30 * day, .month),
      (7 * day + 1, .month), (7 * day, .week), (day + 1, .week), (day, .day), (1, .day),
      (0, .over), (-1, .over), (Int64.max, .fine),
    ])
  func steps(left: Int64, stage: CertificateStage) {
    let now = WallTime(nanoseconds: left == .max ? -1 : 20_000 * Self.day)
    let end = WallTime(nanoseconds: left == .max ? .max : now.nanoseconds + left)
    #expect(CertificateStage(notAfter: end, now: now) == stage)
  }

  /// One broker without TLS, and one whose CA file and certificate lie in `directory`.
  private static func brokers(
    _ directory: String, files: [String] = ["ca_file", "cert_file", "key_file"]
  ) throws -> [BrokerOptions] {
    let names = ["ca_file": "ca.pem", "cert_file": "own.pem", "key_file": "own.key"]
    let tls = files.map { "\($0): \(directory)/\(names[$0] ?? "")" }.joined(separator: ", ")
    let text = """
      gateway: {id: gw-1}
      brokers:
        field: {url: "mqtt://127.0.0.1"}
        central:
          url: mqtts://central.example.com
          tls: {\(tls)}
      routes:
        - {name: r, from: field, subscribe: [x], to: [{name: s, broker: central}]}
      """
    return try Configuration.parse(Array(text.utf8).span, file: "test.yaml").options.brokers
  }

  /// A watch over them.
  private static func watch(
    _ directory: String, _ board: StatusBoard, _ lines: LogLines
  ) throws -> CertificateWatch {
    CertificateWatch(
      brokers: try brokers(directory), status: board,
      logger: Logger(label: "test") { _ in LogRecorder(lines) })
  }

  @Test("each step is told once, a new certificate begins anew, and the health page has it")
  func told() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-test-certificates")
    let path = directory.path
    try TestCertificates.makeAuthority("ca", days: 3650, in: path)
    func make(_ name: String, days: Int) throws -> WallTime {
      try TestCertificates.makeCertificate(
        name, authority: "ca", alternativeNames: "DNS:own", days: days, file: "own", in: path)
      return try #require(try CertificateFile.read("\(path)/own.pem").first).notAfter
    }
    let end = try make("first", days: 60)
    let board = StatusBoard(version: "1")
    let lines = LogLines()
    let watch = try Self.watch(path, board, lines)
    func look(daysLeft: Int64) {
      watch.look(now: WallTime(nanoseconds: end.nanoseconds - daysLeft * Self.day))
    }
    look(daysLeft: 59)
    #expect(lines.all.isEmpty)
    #expect(board.health().notes.isEmpty)
    for (left, count) in [(29, 1), (28, 1), (7, 2), (6, 2), (1, 3), (0, 4), (-5, 4)] {
      look(daysLeft: Int64(left))
      #expect(lines.all.count == count, "\(left): \(lines.all)")
    }
    #expect(lines.all.map(\.level) == [.warning, .warning, .error, .error])
    #expect(lines.all[0].text.contains("a certificate ends soon"))
    #expect(lines.all[0].text.contains("CN=first"))
    #expect(lines.all[3].text.contains("a certificate has ended"))
    let notes = board.health().notes
    #expect(notes.count == 1)
    #expect(notes[0].hasPrefix("broker central: our certificate ended \(end)"), "\(notes)")
    #expect(
      String(decoding: board.health().json(), as: UTF8.self).contains("our certificate ended"))
    // Another one: told of again when it is its turn, and nothing on the page before.
    _ = try make("second", days: 60)
    watch.look(now: Clock.wall())
    #expect(board.health().notes.isEmpty)
    #expect(lines.all.count == 4)
  }

  @Test("what a server showed is told at once and judged again later")
  func server() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-test-certificates")
    let board = StatusBoard(version: "1")
    let lines = LogLines()
    let watch = try Self.watch2(directory.path, board, lines)
    let now = Clock.wall()
    let end = WallTime(nanoseconds: now.nanoseconds + 40 * Self.day)
    watch.observer(of: "central")(Certificate(subject: "CN=central", notAfter: end))
    #expect(lines.all.isEmpty)
    watch.look(now: WallTime(nanoseconds: now.nanoseconds + 35 * Self.day))
    #expect(lines.all.map(\.level) == [.warning])
    watch.observer(of: "central")(
      Certificate(subject: "CN=central", notAfter: WallTime(nanoseconds: now.nanoseconds + 1)))
    #expect(lines.all.count == 2)
  }

  private static func watch2(
    _ directory: String, _ board: StatusBoard, _ lines: LogLines
  ) throws -> CertificateWatch {
    try TestCertificates.makeAuthority("ca", days: 3650, in: directory)
    try TestCertificates.makeCertificate(
      "own", authority: "ca", alternativeNames: "DNS:own", days: 3650, in: directory)
    return try watch(directory, board, lines)
  }

  @Test("after a reload nothing is told of files that are not used any more")
  func watched() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-test-certificates")
    let path = directory.path
    try TestCertificates.makeAuthority("ca", days: 3650, in: path)
    try TestCertificates.makeCertificate(
      "own", authority: "ca", alternativeNames: "DNS:own", days: 60, file: "own", in: path)
    let end = try #require(try CertificateFile.read("\(path)/own.pem").first).notAfter
    let board = StatusBoard(version: "1")
    let lines = LogLines()
    let watch = try Self.watch(path, board, lines)
    watch.look(now: WallTime(nanoseconds: end.nanoseconds - 5 * Self.day))
    #expect(board.health().notes.count == 1)
    watch.watch(try Self.brokers(path, files: ["cert_file", "key_file"]))
    #expect(board.health().notes.count == 1)
    watch.watch(try Self.brokers(path, files: ["ca_file"]))
    #expect(board.health().notes.isEmpty)
    watch.look(now: end)
    #expect(board.health().notes.isEmpty)
  }
}
