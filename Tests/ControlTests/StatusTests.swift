// Goal: what the agent writes, a command reads whole, and the page that explains it names it all.
// Method: a status with every value set, through its JSON and back; the names against the page.

import GatewayCore
import Platform
import Testing

@testable import Control

private let full: GatewayStatus = {
  let stage = StageReading(
    state: "reconnecting", detail: "no route \"x\"\n", since: WallTime(nanoseconds: 5),
    inState: .milliseconds(1500), isStalled: true)
  var journal = JournalStatus(
    id: "j", epoch: "e", capacity: .mebibytes(8), used: .kibibytes(4), committed: Sequence(9),
    oldestKept: Sequence(2))
  journal.lost = ["ring-full": 3]
  journal.recordsPerSecond = 1.5
  journal.timeToFull = .seconds(60)
  journal.syncTime = .microseconds(420)
  journal.pubackDelay = .milliseconds(2)
  journal.isCleanStop = false
  var sink = SinkStatus(
    name: "central", isRequired: true, acknowledged: Sequence(4), outstanding: 5)
  sink.stage = stage
  sink.backlog = ByteCount(4096)
  sink.oldestAge = .seconds(7)
  sink.recordsPerSecond = 2
  sink.timeToDrain = .seconds(10)
  sink.isFallingBehind = false
  sink.inFlightCount = 1
  sink.reconnectCount = 2
  sink.deadLetterCount = 3
  sink.gaps = ["expired": 1]
  var route = RouteStatus(name: "telemetry", phase: .running)
  route.ingest = stage
  route.journal = journal
  route.sinks = [sink]
  route.problem = "p"
  route.receivedCount = 10
  route.duplicateCount = 1
  route.syncs = DurationTotal(count: 3, total: .milliseconds(9))
  route.pubackDelays = DurationTotal(count: 3, total: .milliseconds(12))
  var status = GatewayStatus(
    source: .agent, version: "1", gatewayID: "gw", time: WallTime(nanoseconds: 1_000_000_007))
  status.uptime = .seconds(3)
  status.processID = 42
  status.configurationPath = "/etc/penstock/penstock.yaml"
  status.health = "degraded"
  status.routes = [route]
  status.certificates = [
    CertificateStatus(path: "c.pem", notAfter: WallTime(nanoseconds: 8), warning: "ends soon")
  ]
  status.problems = [
    ProblemStatus(
      time: WallTime(nanoseconds: 9), level: "error", message: "m", detail: "k=v")
  ]
  return status
}()

private func names(of json: JSONValue) -> Set<String> {
  switch json {
  case .object(let members):
    members.reduce(into: []) { found, member in
      found.insert(member.name)
      // The members of these are reasons, not names.
      if member.name != "lost" && member.name != "gaps" { found.formUnion(names(of: member.value)) }
    }
  case .array(let values): values.reduce(into: []) { $0.formUnion(names(of: $1)) }
  default: []
  }
}

@Suite("a status") struct StatusTests {
  @Test("comes back from its JSON as it was")
  func roundTrip() {
    let line = Array(full.json.line.utf8)
    let json = JSONValue(line.span)
    #expect(json.flatMap { GatewayStatus($0) } == full)
  }

  @Test("what is not known comes back as not known")
  func sparse() {
    var sparse = GatewayStatus(
      source: .journals, version: "1", gatewayID: "gw", time: WallTime(nanoseconds: 1))
    sparse.routes = [RouteStatus(name: "a", phase: .off)]
    let line = Array(sparse.json.line.utf8)
    let json = JSONValue(line.span)
    #expect(json.flatMap { GatewayStatus($0) } == sparse)
  }

  @Test("another format is not read as if it were this one")
  func otherFormat() {
    #expect(GatewayStatus(JSONValue.object { $0.put("format", 2) }) == nil)
    #expect(GatewayStatus(.null) == nil)
  }

  @Test("the page explains every name")
  func page() throws {
    let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let page = String(
      decoding: try File.readSmall(
        root + "/Sources/Control/Control.docc/Status.md", byteCountMax: 1 << 20), as: UTF8.self)
    for name in names(of: full.json) { #expect(page.contains("`\(name)`"), "\(name)") }
  }
}
