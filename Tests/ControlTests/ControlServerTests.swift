// Goal: the socket is its owner's alone, bounded in every direction, and survives what clients and
// dead agents leave behind. Method: the real server and real sockets in a private directory.
// Cannot show: another user's connect, which needs two users (IntegrationTests, as root).

import GatewayCore
import Glibc
import Logging
import Platform
import ServiceLifecycle
import ServiceLifecycleTestKit
import Synchronization
import Testing

@testable import Control

private final class Echo: ControlHandler {
  let requests = Mutex<[ControlRequest]>([])
  let observations = Atomic<Int>(0)

  func answer(_ request: ControlRequest) throws(ControlRefusal) -> JSONValue {
    requests.withLock { $0.append(request) }
    guard case .stop = request else { return JSONValue.object { $0.put("echo", request.json) } }
    throw ControlRefusal("not now")
  }

  func observe() { observations.add(1, ordering: .relaxed) }
}

/// Runs `body` on a thread while the server serves.
private func serving(
  _ path: String, patience: Duration = .seconds(5), handler: Echo = Echo(),
  _ body: @escaping @Sendable () throws -> Void
) async throws {
  let server = try ControlServer(
    path: path, handler: handler, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
    patience: patience, retryDelay: .milliseconds(50))
  try await testGracefulShutdown { trigger in
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await server.run() }
      let result = await Result { try await Thread.run(name: "client", body) }
      trigger.triggerGracefulShutdown()
      try await group.waitForAll()
      try result.get()
    }
  }
}

extension Result where Failure == any Error {
  fileprivate init(_ body: () async throws -> Success) async {
    do { self = .success(try await body()) } catch { self = .failure(error) }
  }
}

/// A client as soon as the server listens.
private func connect(_ path: String) throws -> ControlClient {
  let deadline = Clock.monotonic() + .seconds(60)
  let pause = try WakeUp()
  while Clock.monotonic() < deadline {
    if let client = try? ControlClient(path: path) { return client }
    _ = Poll.wait(socket: nil, wakeUp: pause, timeout: .milliseconds(5))
  }
  return try ControlClient(path: path)
}

private func expectAnswer(_ path: String) throws {
  let answer = try connect(path).ask(.status)
  #expect(answer["echo"] == ControlRequest.status.json)
}

/// Whether the server has ended the connection, within five seconds.
private func isEnded(_ stream: borrowing UnixStream) throws -> Bool {
  let never = try WakeUp()
  var bytes = [UInt8](repeating: 0, count: 4096)
  let deadline = Clock.monotonic() + .seconds(5)
  while Clock.monotonic() < deadline {
    var interests = [Poll.Interest(stream.pollDescriptor)]
    _ = Poll.wait(&interests, wakeUp: never, timeout: .milliseconds(100))
    if interests[0].isReady {
      do { if try stream.read(into: &bytes) == 0 { return true } } catch { return true }
    }
  }
  return false
}

@Suite("the control socket") final class ControlServerTests {
  private let directory: TemporaryDirectory
  private var path: String { directory.path + "/control-socket" }

  init() throws { directory = try TemporaryDirectory(prefix: "control") }

  @Test("questions are answered one after the other; a refusal is a sentence; the name goes")
  func questions() async throws {
    let path = path
    try await serving(path) {
      let client = try connect(path)
      #expect(try client.ask(.status)["echo"] == ControlRequest.status.json)
      #expect(throws: ControlRefusal("not now")) { try client.ask(.stop) }
      let drain = ControlRequest.drain(routes: ["a"], endsSession: true)
      #expect(try client.ask(drain)["echo"] == drain.json)
      let status = try FileStatus(path: path)
      #expect(status.isSocket && status.permissions == 0o600)
    }
    #expect((try? FileStatus(path: path)) == nil)
  }

  @Test("the name a dead agent left is taken over")
  func leftover() async throws {
    let path = path
    let made = try UnixListener(path: path)
    // The name stays, nobody listens: as after SIGKILL.
    #expect(unsafe rename(path, path + ".old") == 0)
    _ = consume made
    #expect(unsafe rename(path + ".old", path) == 0)
    #expect(try FileStatus(path: path).isSocket)
    #expect(throws: SystemError.self) { _ = try ControlClient(path: path) }
    try await serving(path) {
      try expectAnswer(path)
    }
  }

  @Test("a name that is no socket is left alone, and the service goes on without")
  func foreignFile() async throws {
    let path = path
    try File.replace(path, with: Array("precious".utf8))
    let echo = Echo()
    try await serving(path, handler: echo) {
      let pause = try WakeUp()
      let deadline = Clock.monotonic() + .seconds(5)
      while echo.observations.load(ordering: .relaxed) < 1, Clock.monotonic() < deadline {
        _ = Poll.wait(socket: nil, wakeUp: pause, timeout: .milliseconds(5))
      }
      #expect(throws: SystemError.self) { _ = try ControlClient(path: path) }
    }
    #expect(try File.readSmall(path, byteCountMax: 100) == Array("precious".utf8))
  }

  @Test("a second agent does not take the socket from the first")
  func secondAgent() async throws {
    let path = path
    try await serving(path) {
      _ = try connect(path).ask(.status)
      #expect(throws: SystemError.self) { _ = try UnixListener(path: path) }
      try expectAnswer(path)
    }
  }

  @Test("a path that is too long for an address is reached all the same")
  func longPath() async throws {
    let long = try directory.makeSubdirectory(String(repeating: "d", count: 120))
    let path = long + "/control-socket"
    try await serving(path) {
      try expectAnswer(path)
    }
    #expect((try? FileStatus(path: path)) == nil)
  }

  @Test("a client that says nothing, or only half a line, is cut off; others are served meanwhile")
  func slowClients() async throws {
    let path = path
    try await serving(path, patience: .milliseconds(300)) {
      _ = try connect(path).ask(.status)
      let silent = try UnixStream(connecting: path)
      let halting = try UnixStream(connecting: path)
      _ = try halting.write(Array("{\"command\":".utf8)[...])
      try expectAnswer(path)
      #expect(try isEnded(silent))
      #expect(try isEnded(halting))
    }
  }

  @Test("too long a request, and a second one before the answer, end the connection")
  func tooMuch() async throws {
    let path = path
    let echo = Echo()
    try await serving(path, handler: echo) {
      _ = try connect(path).ask(.status)
      let loud = try UnixStream(connecting: path)
      _ = try loud.write([UInt8](repeating: UInt8(ascii: "x"), count: 5000)[...])
      #expect(try isEnded(loud))
      let eager = try UnixStream(connecting: path)
      _ = try eager.write(Array("{\"command\":\"stop\"}\n{\"command\":\"stop\"}\n".utf8)[...])
      #expect(try isEnded(eager))
      let wrong = try UnixStream(connecting: path)
      _ = try wrong.write(Array("GET / HTTP/1.1\n".utf8)[...])
      var answer = [UInt8](repeating: 0, count: 4096)
      let never = try WakeUp()
      var interests = [Poll.Interest(wrong.pollDescriptor)]
      _ = Poll.wait(&interests, wakeUp: never, timeout: .seconds(5))
      let count = try #require(try wrong.read(into: &answer))
      let said = JSONValue(answer.span.extracting(first: count - 1))
      #expect(said?["error"]?.string != nil)
    }
    #expect(echo.requests.withLock { $0 } == [.status])
  }

  @Test("more clients than the limit are turned away, and room comes back")
  func tooMany() async throws {
    let path = path
    try await serving(path) {
      _ = try connect(path).ask(.status)
      try fill(path, ControlSocket.clientsMax) {
        let another = try UnixStream(connecting: path)
        #expect(try isEnded(another))
      }
      let deadline = Clock.monotonic() + .seconds(5)
      var answer: JSONValue?
      while answer == nil, Clock.monotonic() < deadline {
        answer = try? connect(path).ask(.status)
      }
      #expect(answer != nil)
    }
  }
}

/// Holds `count` connections that the server has taken, while `body` runs.
private func fill(_ path: String, _ count: Int, _ body: () throws -> Void) throws {
  guard count > 0 else { return try body() }
  let client = try connect(path)
  _ = try client.ask(.status)
  try fill(path, count - 1, body)
  _ = try client.ask(.status)
}
