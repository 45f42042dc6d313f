// A message must not come back to where it came from. Routes are the nodes of a graph; route A
// leads to route B when a sink of A may publish, on some broker, a topic that B subscribes to
// there. A cycle of that graph is refused: over MQTT 3.1.1 nothing in a message tells that it went
// round, and with MQTT 5 every message would go round once before it is recognised. A lead that
// closes no cycle, and two routes that read the same messages, are legal and worth a warning.
// Cycles through other gateways and bridges are not in this file: there `penstock-via` has to do.

import Batching
import Filtering
import GatewayCore
import Ingest
import Mosquitto
import Upstream

struct LoopCheck {
  let draft: ConfigurationDraft
  let findings: Findings

  private struct Lead {
    let from: Int
    let to: Int
    let sinkPath: String
    let filter: String
  }

  func run() {
    let leads = self.leads()
    for lead in leads {
      let routes = draft.routes
      let target = routes[lead.to]
      let what =
        "publishes on broker \(target.from) what \(shownName(target)) subscribes to "
        + "(\(Findings.shown(lead.filter)))"
      if let way = way(from: lead.to, to: lead.from, leads) {
        let names = [lead.from] + way
        findings.error(
          at: lead.sinkPath,
          "\(what), a loop: \(names.map { shownName(routes[$0]) }.joined(separator: " → ")); "
            + "change the topics so that they have none in common")
      } else {
        findings.warning(at: lead.sinkPath, what)
      }
    }
    warnOfOverlaps()
  }

  private func leads() -> [Lead] {
    var leads: [Lead] = []
    for (from, route) in draft.routes.enumerated() {
      for sink in route.sinks {
        guard let target = draft.broker(sink.broker) else { continue }
        let outputs = self.outputs(of: sink, in: route)
        for (to, reader) in draft.routes.enumerated() {
          guard let source = draft.broker(reader.from), source.isSame(as: target) else { continue }
          let filter = reader.ingest.subscriptions.first {
            TopicPattern.overlap(outputs, TopicPattern.filter($0))
          }
          if let filter {
            leads.append(Lead(from: from, to: to, sinkPath: sink.path, filter: filter))
          }
        }
      }
    }
    return leads
  }

  /// Every topic a sink may publish on.
  private func outputs(of sink: SinkSection, in route: RouteSection) -> [TopicPattern] {
    var outputs: [TopicPattern] = []
    switch sink.options.batch.format {
    case .cloudEventsBatch:
      outputs = [.topic(sink.options.topic)]
    case .raw:
      for filter in route.ingest.subscriptions {
        for pattern in TopicPattern.filter(filter) {
          outputs += pattern.mapped(sink.options.topicMap)
          guard let aggregate = route.ingest.filter.aggregate else { continue }
          outputs += pattern.appending(aggregate.topicSuffix).mapped(sink.options.topicMap)
        }
      }
      for notice in Batch.Notice.allCases {
        outputs.append(.topic("\(sink.options.topic)/\(notice.rawValue)"))
      }
    }
    if let topic = sink.options.deadLetterTopic { outputs.append(.topic(topic)) }
    return outputs
  }

  /// The routes from `start` to `end`, both included; nil when there is no way. Breadth first.
  private func way(from start: Int, to end: Int, _ leads: [Lead]) -> [Int]? {
    var ways: [[Int]] = [[start]]
    var seen: Set<Int> = [start]
    while !ways.isEmpty {
      let way = ways.removeFirst()
      guard let last = way.last else { continue }
      if last == end { return way }
      for lead in leads where lead.from == last && seen.insert(lead.to).inserted {
        ways.append(way + [lead.to])
      }
    }
    return nil
  }

  private func warnOfOverlaps() {
    for (index, route) in draft.routes.enumerated() {
      guard let broker = draft.broker(route.from) else { continue }
      for other in draft.routes[..<index] {
        guard let otherBroker = draft.broker(other.from), otherBroker.isSame(as: broker) else {
          continue
        }
        let shared = route.ingest.subscriptions.first { filter in
          other.ingest.subscriptions.contains {
            TopicPattern.overlap(TopicPattern.filter(filter), TopicPattern.filter($0))
          }
        }
        if let shared {
          findings.warning(
            at: route.path + ".subscribe",
            "\(Findings.shown(shared)) overlaps what \(shownName(other)) subscribes to: such "
              + "messages are journalled and delivered by both routes")
        }
      }
    }
  }

  private func shownName(_ route: RouteSection) -> String {
    route.name.isEmpty ? route.path : route.name
  }
}
