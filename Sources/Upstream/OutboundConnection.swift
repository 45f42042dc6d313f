package import GatewayCore
package import Mosquitto

/// What a sink's loop needs of a connection: the seam for a scripted broker.
package protocol OutboundConnection: ~Copyable {
  /// Nil when the connection is gone.
  var socket: Int32? { get }
  var wantsWrite: Bool { get }
  mutating func connect(endpoint: Int) throws(MosquittoError)
  mutating func read() throws(MosquittoError)
  mutating func flush() throws(MosquittoError)
  mutating func misc() throws(MosquittoError)
  mutating func publish(
    topic: String, payload: Span<UInt8>, quality: QualityOfService, retain: Bool,
    properties: PublishProperties
  ) throws(MosquittoError) -> Int32
  mutating func subscribe(
    _ filters: [String], quality: QualityOfService, identifier: UInt32?
  ) throws(MosquittoError) -> Int32
  /// Acknowledges what was received: it is acted upon, or may be forgotten.
  mutating func releaseReceived() throws(MosquittoError)
  mutating func disconnect() throws(MosquittoError)
}

extension MosquittoClient: OutboundConnection {
  package mutating func releaseReceived() throws(MosquittoError) {
    guard heldAcknowledgements > 0 else { return }
    try releaseAcknowledgements(committed: heldAcknowledgements)
  }
}

/// Makes a fresh handle that delivers to the inbox.
package typealias MakeOutboundConnection<Connection: ~Copyable> =
  (SinkInbox) throws(MosquittoError) -> Connection
