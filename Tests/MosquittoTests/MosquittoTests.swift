import GatewayCore
import Logging
import Mosquitto
import Platform
import TestSupport

/// A handler that copies everything it is told.
final class Recorder: MosquittoHandler {
  struct Message: Equatable {
    let header: MessageHeader
    let topic: String
    let payload: String
    let properties: [UInt8]
  }

  var acknowledgements: [ConnectAcknowledgement] = []
  var disconnects: [ReasonCode?] = []
  var messages: [Message] = []
  var granted: [Int32: [ReasonCode]] = [:]
  var unsubscribed: [Int32] = []
  var published: [Int32: ReasonCode] = [:]

  func connected(_ acknowledgement: ConnectAcknowledgement) {
    acknowledgements.append(acknowledgement)
  }
  func disconnected(_ reason: ReasonCode?) { disconnects.append(reason) }
  func received(
    _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
  ) {
    var bytes: [UInt8] = []
    bytes.append(properties)
    messages.append(
      Message(
        header: header, topic: String(decoding: topic), payload: String(decoding: payload),
        properties: bytes))
  }
  func subscribed(mid: Int32, granted reasons: [ReasonCode]) { granted[mid] = reasons }
  func unsubscribed(mid: Int32) { unsubscribed.append(mid) }
  func published(mid: Int32, reason: ReasonCode) { published[mid] = reason }
}

typealias Client = MosquittoClient<Recorder>

/// What a test does with the acknowledgements it holds.
enum Holding {
  case hold
  /// As an owner whose commit takes no time.
  case release
}

extension MosquittoClient where Handler == Recorder {
  /// Runs the owner's loop until `condition` holds.
  mutating func drive(
    _ holding: Holding = .release, within limit: Duration = .seconds(20),
    until condition: () -> Bool
  ) throws {
    let wakeUp = try WakeUp()
    let deadline = Deadline(in: limit)
    while true {
      if holding == .release { try releaseHeld() }
      if condition() { return }
      guard !deadline.isOver else { throw TestFailure("the awaited event did not come") }
      let canWrite = heldAcknowledgements == 0
      let ready = Poll.wait(
        socket: socket, forWriting: wantsWrite && canWrite, wakeUp: wakeUp,
        timeout: min(deadline.left, .milliseconds(200)))
      if ready.socketReadable { while try readUntilDry(limit: 500) {} }
      if holding == .release { try releaseHeld() }
      if wantsWrite && heldAcknowledgements == 0 { try flush() }
      try misc()
    }
  }

  /// States that everything held is durable.
  mutating func releaseHeld() throws {
    if heldAcknowledgements > 0 { try releaseAcknowledgements(committed: heldAcknowledgements) }
  }

  /// Connects and waits for CONNACK.
  mutating func connectFully(_ recorder: Recorder, endpoint: Int = 0) throws {
    let before = recorder.acknowledgements.count
    try connect(endpoint: endpoint)
    try drive(.hold) { recorder.acknowledgements.count > before }
  }

  /// Publishes and waits for the PUBACK.
  mutating func publishFully(
    _ recorder: Recorder, topic: String, _ payload: String = "", retain: Bool = false,
    properties: PublishProperties = .none
  ) throws -> ReasonCode? {
    let bytes = Array(payload.utf8)
    let mid = try publish(
      topic: topic, payload: bytes.span, retain: retain, properties: properties)
    try flush()
    try drive { recorder.published[mid] != nil }
    return recorder.published[mid]
  }

  mutating func subscribeFully(_ recorder: Recorder, _ filters: [String]) throws -> [ReasonCode] {
    let mid = try subscribe(filters)
    try flush()
    try drive { recorder.granted[mid] != nil }
    return recorder.granted[mid] ?? []
  }
}

let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

func options(
  _ port: UInt16, _ clientID: String, usesTLS: Bool = false, host: String = "127.0.0.1"
) -> ConnectionOptions {
  ConnectionOptions(
    endpoints: [BrokerEndpoint(host: host, port: port, usesTLS: usesTLS)], clientID: clientID)
}

/// Publishes `count` QoS 1 messages `0`, `1`, … and waits for every PUBACK.
func publish(_ count: Int, to topic: String, port: UInt16) throws {
  let recorder = Recorder()
  var client = Client(options: options(port, "publisher"), handler: recorder, logger: silent)
  try client.connectFully(recorder)
  for index in 0..<count {
    _ = try client.publish(topic: topic, payload: Array("\(index)".utf8).span)
  }
  try client.flush()
  try client.drive { recorder.published.count == count }
  try client.disconnect()
}

/// PUBACKs of `gateway` that the broker has logged.
func acknowledgementCount(in path: String) -> Int {
  let bytes = (try? File.readSmall(path, byteCountMax: 256 << 20)) ?? []
  return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    .count { $0.contains("Received PUBACK from gateway") }
}
