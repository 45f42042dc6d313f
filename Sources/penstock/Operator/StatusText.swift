import Control
import GatewayCore

/// A status for people.
struct StatusText {
  let status: GatewayStatus
  private static let problemsShown = 5

  var lines: [String] {
    var lines = [heading, ""]
    for route in status.routes { lines += routeLines(route) }
    lines += sinkLines
    let reasons = reasons
    if !reasons.isEmpty { lines += [""] + reasons }
    for certificate in status.certificates {
      lines.append("certificate \(certificate.path): \(certificate.warning)")
    }
    if !status.problems.isEmpty {
      lines += ["", "LATEST WARNINGS AND ERRORS"]
      for problem in status.problems.suffix(Self.problemsShown) {
        let detail = problem.detail.isEmpty ? "" : "; \(Printable.text(problem.detail))"
        lines.append(
          "\(problem.time)  \(problem.level)  \(Printable.text(problem.message))\(detail)")
      }
    }
    return lines
  }

  private var heading: String {
    switch status.source {
    case .agent:
      let uptime = status.uptime.map { ", up \(Figures.duration($0))" } ?? ""
      return "gateway \(status.gatewayID), version \(status.version)\(uptime), "
        + "health \(status.health ?? "unknown")"
    case .journals: return "gateway \(status.gatewayID), from the journal files"
    }
  }

  private func routeLines(_ route: RouteStatus) -> [String] {
    var lines: [String] = []
    var head = "route \(route.name): \(route.phase.rawValue)"
    if let ingest = route.ingest {
      head += ", receiving: \(ingest.isStalled ? "stalled" : ingest.state)"
      head += " for \(Figures.duration(ingest.inState))"
    }
    if let isClean = route.journal?.isCleanStop {
      head += isClean ? ", stopped in order" : ", not stopped in order"
    }
    lines.append(head)
    if let problem = route.problem { lines.append("  \(problem)") }
    guard let journal = route.journal else { return lines }
    let (used, capacity) = (journal.used.rawValue, journal.capacity.rawValue)
    let share = Figures.percent(Double(used), of: Double(capacity))
    var parts = [
      "\(Figures.bytes(used)) of \(Figures.bytes(capacity)) (\(share))",
      "sequences to \(journal.committed)",
    ]
    if let rate = journal.recordsPerSecond {
      parts.append("\(Figures.decimal(rate, digits: 1) ?? "?") records/s in")
    }
    if let time = journal.timeToFull {
      parts.append("full in \(Figures.duration(time)) if nothing were delivered")
    }
    lines.append("  journal: " + parts.joined(separator: ", "))
    var times: [String] = []
    if let sync = journal.syncTime { times.append("sync \(Figures.milliseconds(sync))") }
    if let delay = journal.pubackDelay {
      times.append("PUBACK after \(Figures.milliseconds(delay))")
    }
    if !times.isEmpty { lines.append("  disk: " + times.joined(separator: ", ")) }
    if !journal.lost.isEmpty {
      lines.append("  lost since the journal was created: \(Self.counts(journal.lost))")
    }
    return lines
  }

  static func counts(_ counts: [String: UInt64]) -> String {
    counts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
  }

  private var sinkLines: [String] {
    var table = TextTable([
      "ROUTE", "DESTINATION", "STATE", ">ACCEPTED", ">MISSING", ">BYTES", ">OLDEST", ">OUT/S",
      "DRAINED IN",
    ])
    for route in status.routes {
      for sink in route.sinks {
        table.add([
          route.name, sink.name + (sink.isRequired ? "" : " (best effort)"),
          sink.stage?.state ?? "-", "\(sink.acknowledged)", "\(sink.outstanding)",
          sink.backlog.map { Figures.bytes($0.rawValue) } ?? "?",
          sink.oldestAge.map { Figures.duration($0) } ?? "-",
          sink.recordsPerSecond.flatMap { Figures.decimal($0, digits: 1) } ?? "-",
          Self.drainTime(sink),
        ])
      }
    }
    return table.isEmpty ? [] : [""] + table.lines
  }

  static func drainTime(_ sink: SinkStatus) -> String {
    if sink.outstanding == 0 { return "-" }
    if let time = sink.timeToDrain { return Figures.duration(time) }
    return sink.isFallingBehind == true ? "never: more comes than goes" : "unknown"
  }

  /// Why a stage is not as it should be, and what was told to the centre as a gap.
  private var reasons: [String] {
    var lines: [String] = []
    for route in status.routes {
      if let ingest = route.ingest, ingest.state != "connected" {
        lines.append(Self.reason("\(route.name), receiving", ingest))
      }
      for sink in route.sinks {
        if let stage = sink.stage, stage.state != "connected" {
          lines.append(Self.reason("\(route.name) to \(sink.name)", stage))
        }
        if !sink.gaps.isEmpty {
          lines.append("\(route.name) to \(sink.name): told as gaps: \(Self.counts(sink.gaps))")
        }
        if let count = sink.deadLetterCount, count > 0 {
          lines.append(
            "\(route.name) to \(sink.name): \(Figures.count(count, "record")) refused for good "
              + "and kept in the dead letter file")
        }
      }
    }
    return lines
  }

  private static func reason(_ name: String, _ stage: StageReading) -> String {
    let detail = stage.detail.isEmpty ? "" : ": \(Printable.text(stage.detail))"
    return "\(name): \(stage.state) since \(stage.since)\(detail)"
  }
}

extension Figures {
  /// `0.42 ms`.
  static func milliseconds(_ duration: Duration) -> String {
    "\(decimal(duration.seconds * 1000, digits: 2) ?? "?") ms"
  }
}
