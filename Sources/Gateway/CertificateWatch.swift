import CoreMetrics
package import GatewayConfiguration
package import GatewayCore
package import Logging
import Mosquitto
package import Observability
import Platform
import ServiceLifecycle
import Synchronization

/// Tells people of certificates that end, early enough to replace them: as a metric, in the log at
/// 30, 7 and 1 days and at the end, on the health page. It decides nothing: a connection that is
/// refused for its certificate is tried again like any other, and storing goes on.
package final class CertificateWatch: Service {
  /// Whose certificate.
  package enum Role: String, Sendable, Hashable {
    /// Ours: the certificate file, with all in it.
    case client
    /// The CA file: the first in it that ends.
    case authority
    /// The broker's, or one above it: as it was verified at the last connect.
    case server
  }

  private struct Key: Hashable {
    var broker: String
    var role: Role

    var gauge: Gauge {
      Gauge(
        label: "penstock_broker_certificate_expiry_timestamp_seconds",
        dimensions: [("broker", broker), ("which", role.rawValue)])
    }

    /// Of the note on the health page.
    var subject: String { "certificate \(broker) \(role)" }
  }

  private struct Known {
    var certificate: Certificate
    var told: CertificateStage
  }

  /// How often the files are read and the dates compared with the clock, which may have been set.
  private static let interval: Duration = .seconds(3600)

  private let brokers: Mutex<[BrokerOptions]>
  private let status: StatusBoard
  private let logger: Logger
  private let known = Mutex<[Key: Known]>([:])

  package init(brokers: [BrokerOptions], status: StatusBoard, logger: Logger) {
    self.brokers = Mutex(brokers)
    self.status = status
    self.logger = logger
  }

  package func run() async throws {
    try? await cancelWhenGracefulShutdown {
      while true {
        self.look(now: Clock.wall())
        try await Task.sleep(for: Self.interval)
      }
    }
  }

  /// From now on these brokers. Of others, and of files that are not theirs any more, nothing is
  /// told.
  func watch(_ brokers: [BrokerOptions]) {
    let gone = known.withLock { known in
      let gone = known.keys.filter { key in
        guard let broker = brokers.first(where: { $0.name == key.broker }) else { return true }
        let connection = broker.connection
        return switch key.role {
        case .client: connection.tls?.certificateFile == nil
        case .authority: connection.tls?.authorityFile == nil
        case .server: !connection.endpoints.contains(where: \.usesTLS)
        }
      }
      for key in gone { known[key] = nil }
      return gone
    }
    for key in gone {
      status.note(key.subject, nil)
      key.gauge.destroy()
    }
    self.brokers.withLock { $0 = brokers }
  }

  /// For the connections of one broker: where they tell what its server was verified by.
  func observer(of broker: String) -> ServerVerified {
    { self.judge(Key(broker: broker, role: .server), $0, now: Clock.wall()) }
  }

  /// Reads the files, and judges again what the servers showed.
  func look(now: WallTime) {
    for broker in brokers.withLock({ $0 }) {
      guard let tls = broker.connection.tls else { continue }
      for (role, path) in [(Role.client, tls.certificateFile), (.authority, tls.authorityFile)] {
        // A file that cannot be read is the business of the connect, which names it.
        guard let path, let certificates = try? CertificateFile.read(path),
          let first = certificates.min(by: { $0.notAfter < $1.notAfter })
        else { continue }
        judge(Key(broker: broker.name, role: role), first, now: now)
      }
    }
    for (key, known) in known.withLock({ $0 }) where key.role == .server {
      judge(key, known.certificate, now: now)
    }
  }

  private func judge(_ key: Key, _ certificate: Certificate, now: WallTime) {
    let stage = CertificateStage(notAfter: certificate.notAfter, now: now)
    key.gauge.record(Double(certificate.notAfter.nanoseconds) / 1e9)
    let isNews = known.withLock { known in
      let before = known[key].flatMap { $0.certificate == certificate ? $0.told : nil }
      known[key] = Known(certificate: certificate, told: stage)
      return stage > before ?? .fine
    }
    let sentence =
      "broker \(key.broker): \(key.role.sentence) \(stage == .over ? "ended" : "ends") "
      + "\(certificate.notAfter): replace it in time; the files are read at each connect"
    status.note(key.subject, stage == .fine ? nil : sentence)
    guard isNews else { return }
    logger.log(
      level: stage >= .day ? .error : .warning,
      stage == .over ? "a certificate has ended" : "a certificate ends soon",
      metadata: [
        "broker": "\(key.broker)", "certificate.which": "\(key.role.rawValue)",
        "certificate.subject": "\(certificate.subject)",
        "certificate.not_after": "\(certificate.notAfter)",
      ])
  }
}

extension CertificateWatch.Role {
  fileprivate var sentence: String {
    switch self {
    case .client: "our certificate"
    case .authority: "an authority in the CA file"
    case .server: "the broker's certificate, or one above it,"
    }
  }
}

/// How near the end of a certificate is, in the steps in which people are told.
package enum CertificateStage: Int, Sendable, Comparable {
  case fine
  case month
  case week
  case day
  case over

  package init(notAfter: WallTime, now: WallTime) {
    let (left, isFar) = notAfter.nanoseconds.subtractingReportingOverflow(now.nanoseconds)
    let day: Int64 = 86_400_000_000_000
    self =
      if isFar || left > 30 * day {
        .fine
      } else if left > 7 * day {
        .month
      } else if left > day {
        .week
      } else if left > 0 {
        .day
      } else {
        .over
      }
  }

  package static func < (left: CertificateStage, right: CertificateStage) -> Bool {
    left.rawValue < right.rawValue
  }
}
