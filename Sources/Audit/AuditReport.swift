/// What an audit counts. See `DeliveryAudit` for the meaning of each word.
package struct AuditCounts: Sendable, Hashable {
  /// Publishes, deliberate repeats and resends included.
  package var sends: UInt64 = 0
  package var sent: UInt64 = 0
  package var acknowledged: UInt64 = 0
  /// Acknowledged and not yet delivered: what `lost` would be if nothing more came.
  package var outstanding: UInt64 = 0
  package var envelopes: UInt64 = 0
  /// Data events, redelivery included.
  package var events: UInt64 = 0
  /// Distinct messages delivered.
  package var delivered: UInt64 = 0
  package var lost: UInt64 = 0
  /// Lost, and no gap speaks of it.
  package var untold: UInt64 = 0
  package var invented: UInt64 = 0
  package var corrupt: UInt64 = 0
  package var duplicated: UInt64 = 0
  package var redelivered: UInt64 = 0
  package var outOfOrderBySequence: UInt64 = 0
  package var outOfOrderByArrival: UInt64 = 0
  package var unaccounted: UInt64 = 0
  package var reused: UInt64 = 0
  /// Sequences of one journal that two epochs gave to two messages: rollback or clone.
  package var overlapping: UInt64 = 0
  package var gaps: UInt64 = 0
  /// Distinct ones, however often a gap came.
  package var gapSequences: UInt64 = 0
  package var deadLetters: UInt64 = 0
  package var undecodable: UInt64 = 0
  package var unaudited: UInt64 = 0
  /// Lives of the gateway's journal that the centre heard of.
  package var epochs: UInt64 = 0
  /// Distinct messages in the event store; those below are acknowledged and not in it, and in it
  /// more than once.
  package var applied: UInt64 = 0
  package var notApplied: UInt64 = 0
  package var appliedTwice: UInt64 = 0

  package init() {}
}

/// The verdict of one audit, for people and for scripts.
package struct AuditReport: Sendable, Hashable {
  package let counts: AuditCounts
  /// The first findings, one sentence each.
  package let samples: [String]
  /// Source topics seen.
  package let sources: Int
  /// Where a hub is part of the path.
  package var hub: HubReport?

  /// True when every promise held: nothing lost, invented, corrupt, duplicated, out of order,
  /// unaccounted or unreadable, nothing given up (gap, dead letter), and no more than
  /// `allowedRedelivery` events came again.
  package func isClean(allowedRedelivery: UInt64) -> Bool {
    faults.allSatisfy { $0.count == 0 } && counts.redelivered <= allowedRedelivery
  }

  /// Every count that must be zero.
  package var faults: [(name: String, count: UInt64)] {
    deliveryFaults + (hub.map(storeFaults) ?? [])
  }

  private func storeFaults(_ hub: HubReport) -> [(name: String, count: UInt64)] {
    [("not applied", counts.notApplied), ("applied twice", counts.appliedTwice)] + hub.faults
  }

  private var deliveryFaults: [(name: String, count: UInt64)] {
    [
      ("lost", counts.lost),
      ("duplicated", counts.duplicated),
      ("out of order (by sequence)", counts.outOfOrderBySequence),
      ("out of order (by arrival)", counts.outOfOrderByArrival),
      ("corrupt", counts.corrupt),
      ("invented", counts.invented),
      ("unaccounted sequences", counts.unaccounted),
      ("reused sequences", counts.reused),
      ("rollback or clone", counts.overlapping),
      ("gaps", counts.gaps),
      ("dead letters", counts.deadLetters),
      ("undecodable", counts.undecodable),
      ("not audited", counts.unaudited),
    ]
  }

  /// A table of fixed width; what must be zero says so when it is not.
  package func table(allowedRedelivery: UInt64) -> String {
    var lines: [String] = []
    func row(_ name: String, _ count: UInt64, _ remark: String = "") {
      let number = Self.grouped(count)
      let left = name + String(repeating: " ", count: max(1, 28 - name.count))
      let padding = String(repeating: " ", count: max(0, 12 - number.count))
      lines.append("  \(left)\(padding)\(number)\(remark.isEmpty ? "" : "  \(remark)")")
    }
    row("sent", counts.sent, "messages of \(sources) sources, \(counts.sends) publishes")
    row("acknowledged", counts.acknowledged, "their PUBACK reached the pump")
    row("delivered", counts.delivered, "in \(counts.envelopes) envelopes, \(counts.epochs) epochs")
    let isBounded = counts.redelivered <= allowedRedelivery
    row(
      "redelivered", counts.redelivered,
      "same journal, epoch and sequence again; at most \(allowedRedelivery) allowed"
        + (isBounded ? "" : "  <-- TOO MANY"))
    func fault(_ fault: (name: String, count: UInt64)) {
      row(fault.name, fault.count, fault.count == 0 ? "" : "<-- MUST BE 0")
    }
    for each in deliveryFaults { fault(each) }
    if let hub {
      lines.append("")
      row("applied by the hub", counts.applied, "its event store, asked afterwards")
      row("events of its own", hub.ownEvents, "alerts and steps of maintenance")
      row("journal, last sequence", hub.journalLast, "the gateway's file, verified")
      row("the hub's offset in it", hub.offset)
      for each in storeFaults(hub) { fault(each) }
      lines.append("  state as kept               \(hub.keptState)")
      lines.append("  state rebuilt from events   \(hub.rebuiltState)")
      lines.append(
        "  case of \(hub.failingPump)                \(hub.caseSteps.joined(separator: " → "))")
    }
    lines += samples.map { "    ! \($0)" }
    return lines.joined(separator: "\n")
  }

  /// One JSON object on one line.
  package func json(allowedRedelivery: UInt64) -> String {
    var numbers: [(String, UInt64)] = [
      ("sends", counts.sends), ("sent", counts.sent), ("acknowledged", counts.acknowledged),
      ("delivered", counts.delivered), ("envelopes", counts.envelopes),
      ("events", counts.events), ("epochs", counts.epochs), ("lost", counts.lost),
      ("untold", counts.untold),
      ("duplicated", counts.duplicated), ("redelivered", counts.redelivered),
      ("allowedRedelivery", allowedRedelivery),
      ("outOfOrderBySequence", counts.outOfOrderBySequence),
      ("outOfOrderByArrival", counts.outOfOrderByArrival), ("corrupt", counts.corrupt),
      ("invented", counts.invented), ("unaccounted", counts.unaccounted),
      ("reused", counts.reused), ("overlapping", counts.overlapping), ("gaps", counts.gaps),
      ("gapSequences", counts.gapSequences),
      ("deadLetters", counts.deadLetters), ("undecodable", counts.undecodable),
      ("unaudited", counts.unaudited),
    ]
    if let hub { numbers += hubNumbers(hub) }
    let members = numbers.map { "\"\($0)\":\($1)" }
    let notes = samples.map(Self.quoted).joined(separator: ",")
    return "{\"clean\":\(isClean(allowedRedelivery: allowedRedelivery)),"
      + members.joined(separator: ",") + (hub.map(hubWords) ?? "") + ",\"samples\":[\(notes)]}"
  }

  private func hubNumbers(_ hub: HubReport) -> [(String, UInt64)] {
    [
      ("applied", counts.applied), ("notApplied", counts.notApplied),
      ("appliedTwice", counts.appliedTwice), ("hubEvents", hub.ownEvents),
      ("journalLast", hub.journalLast), ("hubOffset", hub.offset), ("hubGaps", hub.gaps),
    ]
  }

  private func hubWords(_ hub: HubReport) -> String {
    let steps = hub.caseSteps.map(Self.quoted).joined(separator: ",")
    return ",\"journalIsSound\":\(hub.journalIsSound),\"stateIsEqual\":\(hub.stateIsEqual)"
      + ",\"state\":\(Self.quoted(hub.rebuiltState)),\"case\":[\(steps)]"
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case let control where control.value < 0x20:
        result += "\\u00" + (control.value < 16 ? "0" : "") + String(control.value, radix: 16)
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }

  /// 1234567 → 1,234,567.
  private static func grouped(_ value: UInt64) -> String {
    var result = ""
    for (index, digit) in String(value).reversed().enumerated() {
      if index > 0 && index % 3 == 0 { result.append(",") }
      result.append(digit)
    }
    return String(result.reversed())
  }
}
