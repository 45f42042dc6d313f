// Goal: two clients with one id do not throw each other out more than once in half a minute, and an
// ordinary loss is not taken for that. Method: the guard as a value; the loop with a scripted
// broker. Cannot show: real brokers (the integration tests do).

import GatewayCore
import Mosquitto
import Testing

@testable import Ingest

private let lost = MosquittoError(.connectionLost, endpoint: nil, detail: "lost")
private let refused = MosquittoError(.portClosed, endpoint: nil, detail: "lost")
private let takenOver = MosquittoError(
  .disconnectedByBroker, reason: .sessionTakenOver, endpoint: nil, detail: "lost")

@Suite struct TakeoverGuardTests {
  @Test("what the broker calls a takeover is one; the pause grows from 30 s to 5 minutes")
  func told() {
    var longest = Duration.zero
    for _ in 0..<50 {
      var guarding = TakeoverGuard()
      for round in 1...8 {
        guard let pause = guarding.ended(takenOver, lived: .seconds(1)) else {
          Issue.record("not noticed")
          return
        }
        let ceiling = min(TakeoverGuard.pauseMax, TakeoverGuard.pauseMin * (1 << round))
        #expect((TakeoverGuard.pauseMin...ceiling).contains(pause))
        longest = max(longest, pause)
      }
    }
    #expect(longest > .seconds(120))
  }

  @Test("the pauses begin from the shortest again after ten calm minutes")
  func calm() {
    var guarding = TakeoverGuard()
    for _ in 0..<8 { _ = guarding.ended(takenOver, lived: .seconds(1)) }
    for _ in 0..<100 {
      let pause = guarding.ended(takenOver, lived: .seconds(600)) ?? .zero
      #expect(pause <= TakeoverGuard.pauseMin * 2)
    }
  }

  @Test("without a word: the third brief connection in a row that the broker closes is one")
  func suspected() {
    var guarding = TakeoverGuard()
    #expect(guarding.ended(lost, lived: .seconds(1)) == nil)
    #expect(guarding.ended(lost, lived: .seconds(1)) == nil)
    #expect(guarding.ended(lost, lived: .seconds(1)) != nil)
    #expect(guarding.ended(lost, lived: .seconds(40)) != nil)
    // A long life ends the suspicion.
    #expect(guarding.ended(lost, lived: .seconds(3600)) == nil)
    #expect(guarding.ended(lost, lived: .seconds(1)) == nil)
  }

  @Test("a broker that restarts, a network that fails or a refusal is none")
  func ordinary() {
    var guarding = TakeoverGuard()
    for _ in 0..<10 {
      #expect(guarding.ended(lost, lived: .seconds(1)) == nil)
      #expect(guarding.ended(refused, lived: nil) == nil)
    }
    for _ in 0..<10 {
      let expired = MosquittoError(.keepAliveExpired, endpoint: nil, detail: "lost")
      #expect(guarding.ended(expired, lived: .seconds(1)) == nil)
      #expect(guarding.ended(lost, lived: nil) == nil)
    }
  }
}

@Suite struct TakeoverLoopTests {
  @Test("after a takeover the loop stays away, says so, and can be ended all the same")
  func staysAway() throws {
    let kit = try IngestKit()
    var reported = false
    let broker = try kit.run([
      [
        .accept(sessionPresent: false), .grant([.grantedQoS1]), .messages([.id(1)]),
        .cutFor(.sessionTakenOver),
      ],
      [.accept(sessionPresent: true)],
    ]) { _, _, control in
      kit.status.onReport = { kind in
        // The pause of half a minute has begun.
        if kind == .reconnecting { control.advance(to: .close) }
      }
      reported = true
    }
    #expect(reported && kit.status.kinds.contains(.reconnecting))
    #expect(broker.kinds.count { if case .connect = $0 { true } else { false } } == 1)
  }
}
