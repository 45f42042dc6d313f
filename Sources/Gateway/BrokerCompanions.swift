import Mosquitto
import Synchronization

/// What all connections of a broker share, whichever routes they belong to, for as long as the
/// process runs.
package final class BrokerCompanions: Sendable {
  let certificates: CertificateWatch
  private let recalls = Mutex<[String: Recall]>([:])

  init(certificates: CertificateWatch) { self.certificates = certificates }

  /// Of the broker of this name.
  func recall(of broker: String) -> Recall {
    recalls.withLock { recalls in
      if let known = recalls[broker] { return known }
      let new = Recall()
      recalls[broker] = new
      return new
    }
  }
}
