import Glibc
import Mosquitto
import Platform
import TestSupport
import Testing

@Suite("Deferred PUBACK, against a real broker")
struct DeferredAcknowledgementTests {
  static let count = 200

  /// A broker with `count` messages waiting for the client `gateway`.
  static func brokerWithWaitingMessages() throws -> TestBroker {
    let broker = try TestBroker()
    let recorder = Recorder()
    var client = Client(
      options: options(broker.port, "gateway"), handler: recorder, logger: silent)
    try client.connectFully(recorder)
    #expect(try client.subscribeFully(recorder, ["pumps/#"]) == [.grantedQoS1])
    try client.disconnect()
    try publish(count, to: "pumps/1", port: broker.port)
    return broker
  }

  /// The broker has handled everything that was in its sockets: a whole other client came and went.
  static func settle(_ broker: borrowing TestBroker) throws {
    for _ in 0..<2 { try publish(1, to: "elsewhere", port: broker.port) }
  }

  @Test("no PUBACK reaches the broker before the commit, all do after it")
  func heldUntilReleased() throws {
    let broker = try Self.brokerWithWaitingMessages()
    let recorder = Recorder()
    var client = Client(
      options: options(broker.port, "gateway"), handler: recorder, logger: silent)
    try client.connectFully(recorder)
    try client.drive(.hold) { recorder.messages.count == Self.count }
    #expect(recorder.messages.map(\.payload) == (0..<Self.count).map(String.init))
    #expect(client.heldAcknowledgements == Self.count)
    try client.misc()
    try Self.settle(broker)
    #expect(broker.logCount("Received PUBACK from gateway") == 0)

    try client.releaseAcknowledgements(committed: Self.count)
    #expect(client.heldAcknowledgements == 0)
    try broker.waitForLog {
      $0.split(separator: "\n").count { $0.contains("Received PUBACK from gateway") } == Self.count
    }
    try client.disconnect()
    #expect(recorder.disconnects == [nil])
  }

  @Test("aborted before the commit, every message comes again with DUP, in order")
  func abortedBeforeCommit() throws {
    let broker = try Self.brokerWithWaitingMessages()
    let first = Recorder()
    var client = Client(options: options(broker.port, "gateway"), handler: first, logger: silent)
    try client.connectFully(first)
    try client.drive(.hold) { first.messages.count == Self.count }
    client.abort()
    try Self.settle(broker)
    #expect(broker.logCount("Received PUBACK from gateway") == 0)

    let second = Recorder()
    var again = Client(options: options(broker.port, "gateway"), handler: second, logger: silent)
    try again.connectFully(second)
    #expect(second.acknowledgements.last?.sessionPresent == true)
    try again.drive { second.messages.count == Self.count }
    #expect(second.messages.map(\.payload) == first.messages.map(\.payload))
    #expect(broker.logCount("Sending PUBLISH to gateway (d1") == Self.count)
  }

  @Test("a lost connection keeps the held count, and reconnecting brings every message again")
  func reconnectsWithTheSameClient() throws {
    let broker = try Self.brokerWithWaitingMessages()
    let recorder = Recorder()
    var client = Client(
      options: options(broker.port, "gateway"), handler: recorder, logger: silent)
    try client.connectFully(recorder)
    try client.drive(.hold) { recorder.messages.count == Self.count }
    // A second client with the same id takes the session over.
    let other = Recorder()
    var thief = Client(options: options(broker.port, "gateway"), handler: other, logger: silent)
    try thief.connectFully(other)
    let error = try #require(throws: MosquittoError.self) {
      try client.drive(.hold) { false }
    }
    // Mosquitto 2.0.11 closes without a DISCONNECT; later ones say "session taken over".
    #expect([.connectionLost, .disconnectedByBroker].contains(error.code))
    #expect(recorder.disconnects.count == 1)
    #expect(client.socket == nil)
    #expect(client.heldAcknowledgements == Self.count)
    // The owner commits all the same; there is nobody left to tell.
    try client.releaseAcknowledgements(committed: Self.count)
    thief.abort()

    try client.connect(endpoint: 0)
    #expect(client.heldAcknowledgements == 0)
    try client.drive(.hold) { recorder.messages.count == 2 * Self.count }
    try client.releaseAcknowledgements(committed: Self.count)
    try broker.waitForLog {
      $0.split(separator: "\n").count { $0.contains("Received PUBACK from gateway") } == Self.count
    }
  }

  @Test("negative control: without external threading the library acknowledges while reading")
  func controlAcknowledgesEarly() throws {
    let broker = try Self.brokerWithWaitingMessages()
    let eager = try EagerSubscriber(port: broker.port, clientID: "gateway")
    try eager.read(count: Self.count)
    try broker.waitForLog {
      $0.split(separator: "\n").count { $0.contains("Received PUBACK from gateway") } == Self.count
    }
  }

  @Test("a flush while messages are held traps, in release builds too")
  func flushTraps() async throws {
    let broker = try Self.brokerWithWaitingMessages()
    let port = broker.port
    let result = try await #require(
      processExitsWith: .failure, observing: [\.standardOutputContent]
    ) { [port = port as UInt16] in
      let recorder = Recorder()
      var client = Client(options: options(port, "gateway"), handler: recorder, logger: silent)
      try client.connectFully(recorder)
      try client.drive(.hold) { !recorder.messages.isEmpty }
      _ = unsafe write(STDOUT_FILENO, "flushing", 8)
      try client.flush()
      _ = unsafe write(STDOUT_FILENO, "flushed", 7)
    }
    let output = String(decoding: result.standardOutputContent, as: UTF8.self)
    #expect(output.contains("flushing"))
    #expect(!output.contains("flushed"))
    #expect(result.exitStatus == .signal(SIGILL) || result.exitStatus == .signal(SIGTRAP))
    try Self.settle(broker)
    #expect(broker.logCount("Received PUBACK from gateway") == 0)
  }

  @Test("releasing another count than is held traps")
  func wrongCountTraps() async {
    await #expect(processExitsWith: .failure) {
      var client = Client(options: options(1, "gateway"), handler: Recorder(), logger: silent)
      try client.releaseAcknowledgements(committed: 1)
    }
  }
}
