package import GatewayConfiguration
package import GatewayCore
import Mosquitto
import Platform

/// What is to be said of a certificate file of the configuration, now.
package struct CertificateJudgement: Sendable, Hashable {
  package enum Level: Sendable, Hashable {
    case fine
    /// Ends soon, or some of a bundle have ended.
    case warning
    /// Nothing that uses it can connect.
    case error
  }

  package let path: String
  package let level: Level
  package let notAfter: WallTime?
  /// What is wrong, or until when it is good.
  package let text: String

  /// So long before its end a certificate is worth a warning.
  package static let warningTime: Duration = .seconds(30 * 86_400)

  /// - Parameter isOwn: the client's own, whose first certificate is the one that counts; of the
  ///   authorities any one may be the one.
  package init(path: String, isOwn: Bool, now: WallTime) {
    do throws(SystemError) {
      let all = try CertificateFile.read(path)
      guard !all.isEmpty else {
        self.init(path, .error, nil, "holds no certificate in PEM form")
        return
      }
      let counted = isOwn ? [all[0]] : all
      let latest = counted.map(\.notAfter).max() ?? all[0].notAfter
      let earliest = counted.map(\.notAfter).min() ?? latest
      let soon = WallTime(nanoseconds: now.nanoseconds &+ Self.warningTime.nanoseconds)
      if latest < now {
        self.init(path, .error, latest, "ended on \(latest); replace it")
      } else if counted.allSatisfy({ $0.notBefore > now }) {
        let first = counted.map(\.notBefore).min() ?? now
        self.init(
          path, .error, latest, "begins only on \(first); is this machine's clock right?")
      } else if earliest < now {
        self.init(path, .warning, earliest, "holds one that ended on \(earliest)")
      } else if earliest < soon {
        let days = (earliest.nanoseconds - now.nanoseconds) / 86_400_000_000_000
        self.init(path, .warning, earliest, "ends in \(days) days, on \(earliest); replace it")
      } else {
        self.init(path, .fine, earliest, "good until \(earliest)")
      }
    } catch {
      self.init(path, .error, nil, "cannot be read (\(error.reason))")
    }
  }

  private init(_ path: String, _ level: Level, _ notAfter: WallTime?, _ text: String) {
    self.path = path
    self.level = level
    self.notAfter = notAfter
    self.text = text
  }

  /// All certificate files that the brokers of a configuration name, each once.
  package static func all(of options: GatewayOptions, now: WallTime) -> [CertificateJudgement] {
    var seen: Set<String> = []
    var judgements: [CertificateJudgement] = []
    for broker in options.brokers {
      let files = [
        (broker.connection.tls?.authorityFile, false),
        (broker.connection.tls?.certificateFile, true),
      ]
      for case (let path?, let isOwn) in files where seen.insert(path).inserted {
        judgements.append(CertificateJudgement(path: path, isOwn: isOwn, now: now))
      }
    }
    return judgements
  }
}
