import GatewayConfiguration
import GatewayCore
import Platform

/// Looks at the certificate files now and then, for who asks: they end while the agent runs, and
/// are replaced while it runs. `CertificateWatch` is what warns by itself.
struct CertificateReview {
  private static let lookEvery: Duration = .seconds(3600)

  /// What wants attention.
  private(set) var current: [CertificateJudgement] = []
  private var lookAt: MonotonicTime?

  /// Looks when it is time.
  mutating func look(_ options: GatewayOptions, now: MonotonicTime) {
    if let lookAt, now < lookAt { return }
    lookAt = now + Self.lookEvery
    current = CertificateJudgement.all(of: options, now: Clock.wall())
      .filter { $0.level != .fine }
  }
}
