import ArgumentParser
import Batching
import Envelope
import GatewayCore
import Mosquitto
import Platform
import RingJournal
import Upstream

struct JournalReplayCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Publish a journal's records once more.",
    discussion: """
      For a centre that lost data it had accepted. Reads the records that --from, --to, --since, \
      --until and --source select, whether they were delivered or not, and publishes them at \
      QoS 1; a record counts when the broker has acknowledged it. Reads a live, a dead or a copied \
      file without a lock and without writing to it: no cursor moves, and the gateway goes on \
      undisturbed.

      What is published says that it is a replay: the envelope by "replay": true and the user \
      property penstock-replay, a raw record by that user property. Journal, epoch, sequence and \
      id are those of the first time, so that a consumer recognises what it has. Gaps are told as \
      gaps; records between those that --source, --since and --until select are elided. What the \
      ring has overwritten is reported and not replayed. A raw record is not retained, and its \
      Message Expiry Interval begins anew.

      Of a file of dead letters (<route>.dead) it publishes the records as they were, data on \
      their own topics, under the names they had in the route's journal: for a broker that takes \
      now what it refused then. Left out and counted are letters of which the file holds only a \
      part, and, without --expired, commands that expired: to send one is to execute it.

      Stops at the first record that the broker refuses, when the connection is lost, and at \
      SIGINT or SIGTERM after waiting for the answers that are missing; then it says with which \
      --from to go on. Records the broker took a moment before may come once more.

      Examples:
        penstock journal replay /var/lib/penstock/telemetry.journal --from 1041 --to 1540 \
      --broker mqtts://central.example:8883 --topic gateways/houston/replay
        penstock journal replay --config penstock.yaml --route telemetry --sink central \
      --since 2h --source 'pumps/ND01/#' --rate 200/s
        penstock journal replay copy.journal --from 1 --dry-run --topic x
        penstock journal replay --config penstock.yaml --route telemetry --dead-letters \
      --sink central --reason refused

      Exit codes: 0 all accepted · 64 usage · 65 not a usable journal · 69 the broker is \
      unavailable or refuses, or interrupted · 74 the file cannot be read · 78 configuration.
      """)

  @Argument(
    help: ArgumentHelp(
      "The journal file or a copy; default: the one of --config and --route.", valueName: "file"))
  var file: String?

  @OptionGroup var location: JournalLocation
  @OptionGroup var selection: RecordSelection
  @OptionGroup var destination: ReplayDestination

  @Option(
    help: ArgumentHelp("Records or bytes per second at most: 200/s, 64KiB/s.", valueName: "rate"),
    transform: JournalReplayCommand.rate)
  var rate: ReplayRate?

  @Option(
    help: ArgumentHelp(
      "What gateway.site says, for the events' source; default: what --config says, else the "
        + "gateway's id.", valueName: "name"))
  var site: String?

  @Flag(help: "Of dead letters: commands that expired, too. Whoever gets them executes them.")
  var expired = false

  @Flag(help: "Connect to nothing; only say what would be published.") var dryRun = false
  @Flag(help: "Print one JSON object.") var json = false

  func validate() throws {
    if selection.isEverything {
      throw ValidationError(
        "Which records? Give --from, --to, --since, --until, --source or --reason; all: --from 1.")
    }
  }

  func run() throws {
    let (sink, configuredSite) = try destination.options(location)
    let path = try file ?? location.path(file: nil)
    var progress = ProgressLine()
    var observer = try reportingJournalErrors { () throws(JournalError) in
      try JournalObserver(path: path) { share in
        progress.show("reading \(path): \(Int(share * 100)) %")
      }
    }
    // What is committed while it runs is not part of it.
    let last = min(selection.to.map { Sequence($0) } ?? observer.committed, observer.committed)
    if let to = selection.to, Sequence(to) > observer.committed {
      Console.error("penstock: the journal ends with \(observer.committed), before --to \(to)")
    }
    let first = selection.from.map { Sequence($0) } ?? observer.oldest
    var batches = ReplayBatches(
      observer.identity, sink: sink, site: site ?? configuredSite,
      epoch: observer.facts.epoch ?? Epoch(rawValue: 0), rate: rate)
    var report = ReplayReport(journal: observer.identity.id, sink: sink, isRehearsal: dryRun)
    let interruption = try WakeUp()
    if !dryRun { try TerminationSignal.onFirst { interruption.signal() } }
    var publisher = ReplayPublisher(sink, rate: rate, interruption: interruption)
    var outcome: JournalError?
    do throws(ReplayEnd) {
      if !dryRun { batches.limitPackets(to: try publisher.connect()) }
      try replay(
        &observer, from: first, through: last, &batches, &publisher, &report, &progress, &outcome)
    } catch {
      report.end = error
      // Answers on their way still move the place to go on from.
      if case .interrupted = error { try? publisher.settle() }
    }
    publisher.disconnect()
    progress.end()
    report.accepted = publisher.accepted
    json ? report.printJSON() : report.printText()
    if let outcome { throw outcome.commandExitCode.failure("\(outcome)") }
    let broker = sink.connection.endpoints.map { "\($0)" }.joined(separator: " or ")
    if let failure = report.failure(broker: broker, from: first) {
      throw GatewayCore.ExitCode.unavailable.failure(failure)
    }
  }

  private func replay(
    _ observer: inout JournalObserver, from first: Sequence, through last: Sequence,
    _ batches: inout ReplayBatches, _ publisher: inout ReplayPublisher,
    _ report: inout ReplayReport, _ progress: inout ProgressLine, _ outcome: inout JournalError?
  ) throws(ReplayEnd) {
    guard first <= last else { return }
    var end: ReplayEnd?
    let total = last.count(since: first.previous)
    do throws(JournalError) {
      try observer.visit(from: first, through: last) { item, bytes in
        let isWanted = report.count(item, bytes, selection, allowsExpired: expired)
        do throws(ReplayEnd) {
          for message in batches.add(item, bytes, isWanted: isWanted) {
            try hand(over: message, &publisher, &report)
          }
        } catch {
          end = error
        }
        let done = publisher.accepted.through.count(since: first.previous)
        progress.show(
          "replaying: \(done * 100 / total) %, sequence \(publisher.accepted.through) accepted")
        return end == nil
      }
    } catch {
      outcome = error
    }
    if let end { throw end }
    if let message = batches.finish() { try hand(over: message, &publisher, &report) }
    try publisher.settle()
  }

  private func hand(
    over message: ReplayMessage, _ publisher: inout ReplayPublisher, _ report: inout ReplayReport
  ) throws(ReplayEnd) {
    report.messageCount += 1
    report.byteCount += message.payload.count
    if !dryRun { try publisher.send(message) }
  }

  static func rate(_ text: String) throws -> ReplayRate {
    guard let rate = ReplayRate(text) else {
      throw ValidationError("\(text) is not a rate: write 200/s for records, 64KiB/s for bytes.")
    }
    return rate
  }
}

extension ReplayReport {
  /// Counts what the journal holds; answers whether it is asked for.
  fileprivate mutating func count(
    _ item: JournalItem, _ bytes: Span<UInt8>, _ selection: RecordSelection, allowsExpired: Bool
  ) -> Bool {
    switch item {
    case .gap(let gap): gapCount += gap.range.count
    case .absent(let range): absentCount += range.count
    case .record(let record):
      guard selection.includes(record, bytes) else {
        leftOutCount += record.sequences.count
        return false
      }
      switch ReplayLetter(record, bytes)?.unfit(allowsExpired: allowsExpired) {
      case .expired:
        expiredCount += 1
        return false
      case .cut:
        cutCount += 1
        return false
      case nil: break
      }
      if sink.batch.format == .raw, record.kind != .tombstone,
        sink.topicMap.apply(to: String(decoding: bytes.extracting(record.topic))) == nil
      {
        unmappedCount += 1
        return false
      }
      if case .tombstone = record.kind {
        gapCount += record.sequences.count
      } else {
        recordCount += 1
      }
    }
    return true
  }
}
