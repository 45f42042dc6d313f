/// What a private Mosquitto broker is configured with. The defaults are Mosquitto's own, except
/// that it listens on one loopback port only, allows anonymous clients, and logs to its directory.
package struct BrokerOptions: Sendable, Hashable {
  /// Keeps sessions and their queues over a clean stop (and over a kill: as of the last autosave).
  package var persistence = false
  /// Seconds between two saves of the database; 0 means only at a clean stop. Mosquitto: 1800.
  package var autosaveInterval: Int?
  /// Un-acknowledged QoS 1 messages per client before the broker waits. Mosquitto: 20; 0 is no
  /// limit.
  package var maxInflightMessages: Int?
  /// Messages queued per client beyond those in flight; more are dropped silently. Mosquitto: 1000.
  package var maxQueuedMessages: Int?
  /// Keeps QoS 0 messages for absent sessions too.
  package var queuesQoS0 = false
  /// Added to error, warning, notice and information. `all` logs every packet: slow, and the means
  /// to count PUBACKs.
  package var logTypes: [String] = []
  /// Makes the listener speak TLS.
  package var tls: BrokerTLS?
  /// Text of a password file (`mosquitto_passwd` format); nil allows anonymous clients.
  package var passwordFile: String?
  /// Text of an access control list; nil allows everything.
  package var accessControlList: String?
  /// Verbatim lines at the end.
  package var lines: [String] = []

  package init() {}

  package struct BrokerTLS: Sendable, Hashable {
    /// PEM files.
    package var certificateFile: String
    package var keyFile: String
    /// Set: clients must show a certificate of this authority.
    package var clientAuthorityFile: String?

    package init(certificateFile: String, keyFile: String, clientAuthorityFile: String? = nil) {
      self.certificateFile = certificateFile
      self.keyFile = keyFile
      self.clientAuthorityFile = clientAuthorityFile
    }
  }

  /// The text of `mosquitto.conf`. `runsAsRoot`: a broker started by root gives root up for the
  /// user `mosquitto`, who could not read a private directory; so it is told to stay.
  func configuration(port: UInt16, directory: String, runsAsRoot: Bool) -> String {
    var text: [String] = ["listener \(port) 127.0.0.1"]
    if let tls {
      text.append("certfile \(tls.certificateFile)")
      text.append("keyfile \(tls.keyFile)")
      if let authority = tls.clientAuthorityFile {
        text.append("cafile \(authority)")
        text.append("require_certificate true")
      }
    }
    text.append("allow_anonymous \(passwordFile == nil)")
    if passwordFile != nil { text.append("password_file \(directory)/passwords") }
    if accessControlList != nil { text.append("acl_file \(directory)/acl") }
    if runsAsRoot { text.append("user root") }
    text.append("persistence \(persistence)")
    if persistence { text.append("persistence_location \(directory)/") }
    if let autosaveInterval { text.append("autosave_interval \(autosaveInterval)") }
    if let maxInflightMessages { text.append("max_inflight_messages \(maxInflightMessages)") }
    if let maxQueuedMessages { text.append("max_queued_messages \(maxQueuedMessages)") }
    if queuesQoS0 { text.append("queue_qos0_messages true") }
    text.append("log_dest stderr")
    for type in ["error", "warning", "notice", "information"] + logTypes {
      text.append("log_type \(type)")
    }
    return (text + lines).joined(separator: "\n") + "\n"
  }
}
