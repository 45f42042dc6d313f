// Goal: the observer misses nothing while the broker comes and goes, and says so when it may have.
// Method: a real broker, and mosquitto_pub as a producer that shares no code with us. Cannot show:
// that the broker itself keeps what it acknowledged.

import GatewayCore
import Mosquitto
import Platform
import Synchronization
import Testing

@testable import Audit

private let hasTools =
  BrokerProcess.isAvailable && Environment.executable(named: "mosquitto_pub") != nil

@Suite("the central observer", .enabled(if: hasTools, "mosquitto-clients is not installed"))
struct CentralObserverTests {
  /// Publishes the numbers of a range as messages with QoS 1, one by one, through mosquitto_pub.
  private func publish(_ numbers: Range<Int>, to endpoint: BrokerEndpoint) throws {
    let directory = try TemporaryDirectory(prefix: "penstock-pub")
    let lines = numbers.map { "\($0)\n" }.joined()
    try File.replace(directory.path + "/lines", with: Array(lines.utf8))
    let program = try #require(Environment.executable(named: "mosquitto_pub"))
    var child = try ChildProcess(
      executable: "/bin/sh",
      arguments: [
        "-c", "exec \"$0\" -h 127.0.0.1 -p \(endpoint.port) -t test/out -q 1 -l < \"$1\"",
        program, directory.path + "/lines",
      ])
    let status = try child.wait(atMost: .seconds(20))
    #expect(status == .exited(code: 0))
  }

  private final class Collector: Sendable {
    let numbers = Mutex<[String]>([])
    var distinct: Set<String> { numbers.withLock { Set($0) } }
  }

  private func makeObserver(
    _ endpoint: BrokerEndpoint, _ collector: Collector
  ) throws -> CentralObserver {
    try CentralObserver(endpoint: endpoint, clientID: "observer", filters: ["test/#"]) {
      _, payload in
      let text = String(decoding: payload)
      collector.numbers.withLock { $0.append(text) }
    }
  }

  @Test("it receives everything over a clean restart of the broker, also what came meanwhile")
  func restart() throws {
    var options = BrokerOptions()
    options.persistence = true
    options.maxQueuedMessages = 10_000
    var broker = try BrokerProcess(name: "observed", options: options)
    try broker.start()
    let collector = Collector()
    let observer = try makeObserver(broker.endpoint, collector)
    observer.start()
    #expect(observer.wait(timeout: .seconds(10)) { $0.isSubscribed })
    try publish(0..<500, to: broker.endpoint)
    #expect(observer.wait(timeout: .seconds(10)) { $0.messages >= 500 })

    try broker.restart()
    try publish(500..<1000, to: broker.endpoint)
    #expect(observer.wait(timeout: .seconds(10)) { _ in collector.distinct.count == 1000 })

    observer.stop()
    try publish(1000..<1100, to: broker.endpoint)
    let successor = try makeObserver(broker.endpoint, collector)
    successor.start()
    #expect(successor.wait(timeout: .seconds(10)) { _ in collector.distinct.count == 1100 })
    successor.stop()
    #expect(observer.current.sessionsLost + successor.current.sessionsLost == 0)
    #expect(observer.current.connections == 2)
  }

  @Test("a broker that forgot the session is noticed")
  func lostSession() throws {
    var broker = try BrokerProcess(name: "forgetful")
    try broker.start()
    let collector = Collector()
    let observer = try makeObserver(broker.endpoint, collector)
    observer.start()
    #expect(observer.wait(timeout: .seconds(10)) { $0.isSubscribed })
    try broker.kill()
    #expect(observer.wait(timeout: .seconds(10)) { !$0.isSubscribed })
    try broker.start()
    #expect(observer.wait(timeout: .seconds(10)) { $0.isSubscribed })
    observer.stop()
    #expect(observer.current.sessionsLost == 1)
    #expect(observer.current.lastError != nil)
  }
}
