// Goal: a session holds exactly the filters of the configuration. Method: real files.

import Platform
import Testing

@testable import Ingest

@Suite struct SubscriptionMemoryTests {
  @Test("an unknown set subscribes to all and removes nothing")
  func unknown() throws {
    let directory = try TemporaryDirectory(prefix: "ingest")
    let memory = SubscriptionMemory(path: "\(directory.path)/r.subscriptions")
    #expect(memory.filters == nil)
    #expect(memory.changes(to: ["a/#"]).subscribe == ["a/#"])
    #expect(memory.changes(to: ["a/#"]).unsubscribe.isEmpty)
  }

  @Test("after a change only the difference goes to the broker, over a restart too")
  func difference() throws {
    let directory = try TemporaryDirectory(prefix: "ingest")
    let path = "\(directory.path)/r.subscriptions"
    var memory = SubscriptionMemory(path: path)
    try memory.store(["pumps/+/metrics", "pumps/+/old"])
    let reopened = SubscriptionMemory(path: path)
    let changes = reopened.changes(to: ["pumps/+/metrics", "pumps/+/asset"])
    #expect(changes.subscribe == ["pumps/+/asset"])
    #expect(changes.unsubscribe == ["pumps/+/old"])
    #expect(reopened.changes(to: ["pumps/+/metrics", "pumps/+/old"]).subscribe.isEmpty)
  }
}
