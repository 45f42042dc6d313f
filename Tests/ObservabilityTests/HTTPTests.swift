// Goal: the pages over a real socket, and limits that hold against a rude client.
// Method: bytes written and read as they are, so that no HTTP client corrects our mistakes.

import CoreMetrics
import GatewayCore
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import ServiceLifecycleTestKit
import Testing

@testable import Observability

@Suite("pages")
struct HTTPTests {
  private let registry = MetricsRegistry(version: "1.2.3")
  private let clock = ManualClock()

  private static let quiet = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })

  /// Runs a server on a free port for as long as `body` takes.
  private func withServer(
    board: StatusBoard? = nil, requestTimeMax: Duration = .seconds(5),
    _ body: @Sendable (ListenAddress) async throws -> Void
  ) async throws {
    let (bound, tell) = AsyncStream.makeStream(of: ListenAddress.self)
    let server = ObservabilityServer(
      address: ListenAddress(host: "127.0.0.1", port: 0),
      pages: ObservabilityPages(
        registry: registry, board: board ?? StatusBoard(version: "1.2.3")),
      logger: Self.quiet, requestTimeMax: requestTimeMax, onBound: { tell.yield($0) })
    try await testGracefulShutdown { trigger in
      async let running: Void = server.run()
      var addresses = bound.makeAsyncIterator()
      let address = try #require(await addresses.next())
      try await body(address)
      trigger.triggerGracefulShutdown()
      try await running
    }
  }

  private typealias Connection = NIOAsyncChannel<ByteBuffer, ByteBuffer>

  private static func connect(_ address: ListenAddress) async throws -> Connection {
    try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .connect(host: address.host, port: Int(address.port)) { channel in
        channel.eventLoop.makeCompletedFuture {
          try Connection(wrappingChannelSynchronously: channel)
        }
      }
  }

  /// Sends `request` and returns everything until the server closes.
  private static func exchange(_ request: String, _ address: ListenAddress) async throws -> String {
    try await connect(address).executeThenClose { inbound, outbound in
      var answer = ""
      do {
        try await outbound.write(ByteBuffer(string: request))
        for try await part in inbound { answer += String(buffer: part) }
      } catch is IOError {
        // A reset is a close in haste.
      } catch ChannelError.ioOnClosedChannel {
        // Closed before we had said anything.
      }
      return answer
    }
  }

  private static func get(
    _ path: String, _ address: ListenAddress, method: String = "GET"
  ) async throws -> (head: String, body: String) {
    let answer = try await exchange(
      "\(method) \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", address)
    let lines = answer.split(separator: "\r\n", omittingEmptySubsequences: false)
    let end = lines.firstIndex(of: "") ?? lines.endIndex
    return (
      lines[..<end].joined(separator: "\n"), lines[end...].dropFirst().joined(separator: "\r\n")
    )
  }

  @Test("GET /metrics is the exposition with its content type; HEAD is the same without a body")
  func metrics() async throws {
    Counter(label: "penstock_ingest_messages_total", factory: registry).increment(by: 4)
    try await withServer { address in
      let (head, body) = try await Self.get("/metrics?x=1", address)
      #expect(head.hasPrefix("HTTP/1.1 200 OK\n"))
      #expect(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"))
      #expect(head.contains("content-length: \(body.utf8.count)"))
      #expect(body.contains("\npenstock_ingest_messages_total 4\n"))
      #expect(body.contains("penstock_build_info{version=\"1.2.3\"} 1\n"))
      let (_, none) = try await Self.get("/metrics", address, method: "HEAD")
      #expect(none == "")
    }
  }

  @Test("/healthz answers 200 while a broker is away and 503 when ingest is stuck")
  func health() async throws {
    let board = StatusBoard(
      version: "1", stallLimit: .seconds(60), monotonic: clock.monotonic, wall: clock.wall)
    board.report(ingest, StageState(.reconnecting, "refused"))
    let clock = self.clock
    try await withServer(board: board) { address in
      let (head, body) = try await Self.get("/healthz", address)
      #expect(head.hasPrefix("HTTP/1.1 200 OK\n"))
      #expect(head.contains("content-type: application/json"))
      #expect(body.hasPrefix("{\"status\":\"degraded\""))
      clock.advance(by: .seconds(61))
      let sick = try await Self.get("/healthz", address)
      #expect(sick.head.hasPrefix("HTTP/1.1 503 Service Unavailable\n"))
      #expect(sick.body.hasPrefix("{\"status\":\"unhealthy\""))
    }
  }

  @Test("other paths are 404, other methods 405 with Allow, / lists the pages")
  func others() async throws {
    try await withServer { address in
      let missing = try await Self.get("/admin", address)
      #expect(missing.head.hasPrefix("HTTP/1.1 404"))
      #expect(missing.body.contains("/metrics"))
      let post = try await Self.get("/metrics", address, method: "POST")
      #expect(post.head.hasPrefix("HTTP/1.1 405"))
      #expect(post.head.contains("allow: GET, HEAD"))
      #expect(try await Self.get("/", address).body.contains("/healthz"))
    }
  }

  @Test("a connection is kept for the next request")
  func keepAlive() async throws {
    try await withServer { address in
      let answer = try await Self.exchange(
        "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n"
          + "Connection: close\r\n\r\n", address)
      #expect(answer.split(separator: "HTTP/1.1 200 OK").count == 2)
    }
  }

  @Test("a header without end, garbage and a silent client are cut off; the server lives on")
  func limits() async throws {
    try await withServer(requestTimeMax: .milliseconds(200)) { address in
      let endless = "GET / HTTP/1.1\r\nX: " + String(repeating: "x", count: 20_000)
      #expect(try await Self.exchange(endless, address) == "")
      let garbage = try await Self.exchange("\u{1}\u{2}\r\n\r\n", address)
      #expect(!garbage.contains("200"))
      // Never finishes its request: only the deadline can end this exchange.
      #expect(try await Self.exchange("GET / HT", address) == "")
      #expect(try await Self.get("/", address).head.hasPrefix("HTTP/1.1 200"))
    }
  }

  @Test("the connection after the last allowed one is closed at once")
  func connectionLimit() async throws {
    try await withServer { address in
      var held: [any Channel] = []
      for _ in 0..<ObservabilityServer.connectionsMax {
        held.append(
          try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connect(host: address.host, port: Int(address.port)).get())
      }
      #expect(try await Self.exchange("GET / HTTP/1.0\r\n\r\n", address) == "")
      for channel in held { try await channel.close() }
      var answer = ""
      while answer.isEmpty { answer = try await Self.exchange("GET / HTTP/1.0\r\n\r\n", address) }
      #expect(answer.contains("200 OK"))
    }
  }

  @Test("a taken port does not end the service; it is served once the port is free")
  func takenPort() async throws {
    let holder = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .bind(host: "127.0.0.1", port: 0).get()
    let port = UInt16(try #require(holder.localAddress?.port))
    let (bound, tell) = AsyncStream.makeStream(of: ListenAddress.self)
    let complaints = Counted()
    let logger = Logger(label: "test") { _ in CountingLogHandler(counted: complaints) }
    let server = ObservabilityServer(
      address: ListenAddress(host: "127.0.0.1", port: port),
      pages: ObservabilityPages(registry: registry, board: StatusBoard(version: "1")),
      logger: logger, retryDelay: .milliseconds(10), onBound: { tell.yield($0) })
    try await testGracefulShutdown { trigger in
      async let running: Void = server.run()
      #expect(await eventually { complaints.count == 1 })
      try await holder.close()
      var addresses = bound.makeAsyncIterator()
      #expect(await addresses.next()?.port == port)
      trigger.triggerGracefulShutdown()
      try await running
    }
    #expect(complaints.count == 1, "said once, not at every try")
  }
}

private struct CountingLogHandler: LogHandler {
  let counted: Counted
  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level = .error
  var metadataProvider: Logger.MetadataProvider?

  init(counted: Counted) { self.counted = counted }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) { counted.add() }
}
