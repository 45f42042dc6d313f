package import GatewayCore
package import Mosquitto

/// What the ingest loop needs of a connection. The seam that lets a test record the order of calls:
/// the commit must lie between the last `read` and the first `releaseAcknowledgements`.
package protocol InboundConnection: ~Copyable {
  /// Nil when the connection is gone.
  var socket: Int32? { get }
  var wantsWrite: Bool { get }
  /// QoS 1 messages read whose PUBACK is queued and not released.
  var heldAcknowledgements: Int { get }
  mutating func connect(endpoint: Int) throws(MosquittoError)
  /// One turn of reading; each message goes to the handler before this returns.
  mutating func read() throws(MosquittoError)
  /// The caller states that all `count` held messages are durable; their PUBACKs leave.
  mutating func releaseAcknowledgements(committed count: Int) throws(MosquittoError)
  /// Writes what is queued. Only while nothing is held.
  mutating func flush() throws(MosquittoError)
  mutating func misc() throws(MosquittoError)
  mutating func subscribe(
    _ filters: [String], quality: QualityOfService, identifier: UInt32?
  ) throws(MosquittoError) -> Int32
  mutating func unsubscribe(_ filters: [String]) throws(MosquittoError) -> Int32
  mutating func disconnect() throws(MosquittoError)
  /// As `disconnect`, and the broker forgets the session at once; over MQTT 3.1.1 it keeps it.
  mutating func disconnectEndingSession() throws(MosquittoError)
}

extension MosquittoClient: InboundConnection {}

/// Makes a fresh handle that delivers to the intake.
package typealias MakeInboundConnection<Connection: ~Copyable> =
  (Intake) throws(MosquittoError) -> Connection
