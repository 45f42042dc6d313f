import GatewayCore
import RingJournal

extension StatisticsReport {
  /// Of the whole life of the file, in the order of the reasons.
  var losses: [(reason: GapReason, count: UInt64)] {
    GapReason.allCases.compactMap { reason in
      statistics.lostRecords[reason].map { (reason, $0) }
    }
  }

  var lines: [String] {
    var lines = rows.map { RecordRow.left($0.0, 20) + $0.1 }
    lines += [""] + sinkLines
    if !losses.isEmpty || statistics.gapRecords[.corrupt] != nil {
      lines += [""] + lossLines
    }
    if !sources.counts.isEmpty { lines += [""] + sourceLines }
    return lines
  }

  private var rows: [(String, String)] {
    let identity = statistics.identity
    var rows = [
      ("journal", "\(identity.id), format \(facts.formatVersion)"),
      ("gateway, route", "\(identity.gatewayID), \(identity.routeName)"),
      ("created", "\(identity.createdAt)"),
    ]
    if let previous = identity.previous {
      rows.append(("previous journal", "\(previous.id), up to \(previous.lastSequence)"))
    }
    rows.append(("state", state))
    rows.append(
      ("epoch, lap", "\(facts.epoch.map { "\($0)" } ?? "unknown"), \(facts.lap)"))
    rows.append(("capacity", Figures.bytes(statistics.capacity.rawValue)))
    rows.append(("undelivered", share(statistics.used)))
    rows.append(
      ("kept", share(statistics.kept) + ", \(Figures.count(statistics.groupCount, "commit group"))")
    )
    rows.append(
      (
        "sequences",
        statistics.committed == .none
          ? "none yet" : "\(statistics.oldestKept) to \(statistics.committed)"
      ))
    rows.append(("oldest undelivered", oldest))
    rows += costs
    rows += notes.map { ("note", $0) }
    return rows
  }

  private var state: String {
    let written = facts.writtenAt.map {
      "\($0)" + (facts.isClockSynchronised ? "" : " by a clock that was not synchronised")
    }
    if isLive { return "in use" }
    guard let written else { return "no superblock is whole" }
    return facts.isCleanStop
      ? "stopped in order at \(written)" : "in use, or not stopped in order; written \(written)"
  }

  private func share(_ part: ByteCount) -> String {
    Figures.bytes(part.rawValue) + ", "
      + Figures.percent(Double(part.rawValue), of: Double(statistics.capacity.rawValue))
  }

  private var oldest: String {
    guard let time = statistics.oldestUndelivered else { return "none" }
    return "\(time)" + (age.map { ", \(Figures.duration($0)) ago" } ?? "")
  }

  private var costs: [(String, String)] {
    var rows: [(String, String)] = []
    if let rates {
      rows.append(
        (
          "rate",
          "\(Figures.decimal(rates.records, digits: 2) ?? "?") records/s, "
            + "\(Figures.bytes(UInt64(rates.ringBytes)))/s of the ring, over "
            + Figures.duration(rates.span)
        ))
    }
    rows.append(("time to full", timeToFull.map { Figures.duration($0) } ?? "unknown"))
    rows.append(
      (
        "write amplification",
        writeAmplification.flatMap { Figures.decimal($0, digits: 2) } ?? "unknown"
      ))
    rows.append(
      ("written per day", perDay(writtenByteCount).map { Figures.bytes(UInt64($0)) } ?? "unknown"))
    rows.append(
      ("syncs per day", perDay(syncCount).flatMap { Figures.decimal($0, digits: 0) } ?? "unknown"))
    return rows
  }

  private var notes: [String] {
    var notes: [String] = []
    if facts.tornTailCount > 0 {
      notes.append("a last write was cut short; it was never acknowledged, nothing is lost")
    }
    if facts.damagedBlockCount > 0 {
      notes.append(
        "\(Figures.count(facts.damagedBlockCount, "control block")) of 4 damaged; the next start "
          + "repairs that")
    }
    if facts.missingByteCount > 0 {
      notes.append(
        "the file ends \(Figures.bytes(facts.missingByteCount)) early, as an incomplete copy does")
    }
    return notes
  }

  private var sinkLines: [String] {
    var table = TextTable(["SINK", ">ACKNOWLEDGED", ">BEHIND", ">BYTES", "", "TIME TO DRAIN"])
    for sink in statistics.sinks {
      let backlog = backlog(sink)
      let drain =
        backlog.timeToDrain.map { Figures.duration($0) }
        ?? (backlog.records == 0
          ? "-" : backlog.isGrowing ? "never: more comes than goes" : "unknown")
      let ranges = sink.accepted.map { "\($0)" }.joined(separator: ", ")
      let ahead = ranges.isEmpty ? "" : ", accepted ahead \(ranges)"
      let skipped = facts.skippedThrough[sink.name].map { ", skipped through \($0)" } ?? ""
      table.add([
        sink.name, "\(sink.acknowledged)", "\(backlog.records)",
        Figures.bytes(sinkBacklogBytes[sink.name] ?? 0),
        (sink.isRequired ? "required" : "best effort") + ahead + skipped, drain,
      ])
    }
    return table.isEmpty ? ["no sink is known"] : table.lines
  }

  private var lossLines: [String] {
    var table = TextTable(["LOST SINCE CREATION", ">RECORDS"])
    for (reason, count) in losses { table.add([reason.text, "\(count)"]) }
    if let count = statistics.gapRecords[.corrupt] {
      table.add(["not delivered and unreadable now", "\(count)"])
    }
    return table.lines
  }

  private var sourceLines: [String] {
    var table = TextTable([">RECORDS", ">BYTES", ">REFUSED", "SOURCE"])
    let ranked = sources.ranked
    for count in ranked.prefix(sourcesMax) {
      table.add([
        "\(count.records)", Figures.bytes(count.bytes), "\(count.refused)",
        Printable.text(count.topic.span),
      ])
    }
    var rest = sources.others
    for count in ranked.dropFirst(sourcesMax) {
      rest.records += count.records
      rest.bytes += count.bytes
      rest.refused += count.refused
    }
    if rest.records + rest.refused > 0 {
      let isCut = ranked.count > sourcesMax
      table.add([
        "\(rest.records)", Figures.bytes(rest.bytes), "\(rest.refused)",
        isCut ? "(other sources; --all-sources)" : "(more than \(SourceCounts.countMax) sources)",
      ])
    }
    return table.lines
  }
}
