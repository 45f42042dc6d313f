import GatewayConfiguration
import GatewayCore
import Platform

/// Looks at the certificate files now and then: they end while the agent runs, and are replaced
/// while it runs.
struct CertificateLook {
  private static let lookEvery: Duration = .seconds(3600)

  /// What wants attention.
  private(set) var current: [CertificateJudgement] = []
  private var lookAt: MonotonicTime?

  /// Looks when it is time.
  /// - Returns: what wants attention and did not at the last look.
  mutating func look(_ options: GatewayOptions, now: MonotonicTime) -> [CertificateJudgement] {
    if let lookAt, now < lookAt { return [] }
    lookAt = now + Self.lookEvery
    let before = Set(current.map { "\($0.path) \($0.level)" })
    current = CertificateJudgement.all(of: options, now: Clock.wall())
      .filter { $0.level != .fine }
    return current.filter { !before.contains("\($0.path) \($0.level)") }
  }
}
