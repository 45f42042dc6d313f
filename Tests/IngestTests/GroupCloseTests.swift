// Goal: a commit group closes at the right moment. Method: the decision is a pure function.

import GatewayCore
import Testing

@testable import Ingest

@Suite struct GroupCloseTests {
  private let close = GroupClose(
    windowMax: 900, byteCountMax: 1 << 20, delayMax: .milliseconds(20))

  @Test("a full receive window closes at once: the broker may send no more")
  func window() {
    #expect(close.decide(held: 900, byteCount: 0, age: .zero, dry: nil) == .close)
    #expect(close.decide(held: 899, byteCount: 0, age: .zero, dry: nil) == .wait(.zero))
  }

  @Test("a group at its largest size closes at once")
  func bytes() {
    #expect(close.decide(held: 1, byteCount: 1 << 20, age: .zero, dry: nil) == .close)
  }

  @Test("max_delay is the upper bound on the age of a held message")
  func age() {
    #expect(close.decide(held: 1, byteCount: 10, age: .milliseconds(20), dry: nil) == .close)
  }

  @Test("a dry socket is waited on for half a sync, not for max_delay")
  func dry() {
    #expect(close.quiet == .microseconds(250))
    #expect(
      close.decide(held: 1, byteCount: 10, age: .zero, dry: .microseconds(100))
        == .wait(.microseconds(150)))
    #expect(close.decide(held: 1, byteCount: 10, age: .zero, dry: .microseconds(250)) == .close)
  }

  @Test("on a slow card the quiet time grows with the sync, never beyond max_delay")
  func slowCard() {
    var close = close
    for _ in 0..<100 { close.synced(in: .milliseconds(200)) }
    #expect(close.quiet == .milliseconds(20))
    for _ in 0..<100 { close.synced(in: .milliseconds(10)) }
    #expect(close.quiet > .milliseconds(4) && close.quiet < .milliseconds(6))
  }

  @Test("while the socket has data, the answer is to read on")
  func readOn() {
    #expect(close.decide(held: 10, byteCount: 10, age: .zero, dry: nil) == .wait(.zero))
  }

  @Test("min_delay holds a commit back, but neither a full window, a full group nor max_delay")
  func delayMin() {
    let close = GroupClose(
      windowMax: 900, byteCountMax: 1 << 20, delayMin: .milliseconds(100),
      delayMax: .milliseconds(200))
    func decide(
      held: Int = 1, byteCount: Int = 10, age: Duration = .zero, dry: Duration? = .seconds(1),
      since: Duration?
    ) -> GroupClose.Decision {
      close.decide(held: held, byteCount: byteCount, age: age, dry: dry, sinceCommit: since)
    }
    #expect(decide(since: .milliseconds(30)) == .wait(.milliseconds(70)))
    #expect(decide(since: .milliseconds(100)) == .close)
    // The first one, and duplicates that need no commit.
    #expect(decide(since: nil) == .close)
    #expect(decide(held: 900, since: .milliseconds(1)) == .close)
    #expect(decide(byteCount: 1 << 20, since: .milliseconds(1)) == .close)
    #expect(decide(age: .milliseconds(200), since: .milliseconds(1)) == .close)
    // Never longer than max_delay allows.
    #expect(
      decide(age: .milliseconds(190), since: .milliseconds(30)) == .wait(.milliseconds(10)))
    #expect(decide(dry: nil, since: .milliseconds(30)) == .wait(.zero))
    #expect(decide(dry: .zero, since: .seconds(1)) == .wait(close.quiet))
  }
}
