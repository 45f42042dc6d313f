// One entry of `routes` as read: options at their place, names not yet resolved. Cross checks and
// the final options are made from these, when all sections are known.

import Batching
import Deduplication
import Filtering
import GatewayCore
import Ingest
import Mosquitto
import RingJournal
import Upstream

struct RouteSection {
  /// `routes[0]`.
  var path: String
  /// Empty when it was missing or wrong (and reported).
  var name = ""
  /// The broker's name; empty as above.
  var from = ""
  var ingest: IngestOptions
  var journal: JournalOptions
  var sinks: [SinkSection] = []

  static let commitDelayRange = Duration.milliseconds(1)...Duration.seconds(1)
  static let commitDelayMinRange = Duration.zero...Duration.seconds(1)
  static let recordRange = ByteCount(64)...ByteCount.mebibytes(64)
  /// Room for the longest topic and id with both headers.
  static let commitByteRange = ByteCount.kibibytes(128)...ByteCount.mebibytes(256)
  static let journalRange = JournalOptions.capacityMin...ByteCount.gibibytes(64)
  /// Below a twentieth, the steps in which bytes are given back would count.
  static let quotaPercentRange = 5...100
  static let quotaByteRange = ByteCount.kibibytes(64)...ByteCount.gibibytes(64)
  static let expiryRange = Duration.seconds(1)...Duration.seconds(365 * 86_400)
  /// The part of the file that is not data (RingJournal: superblocks).
  static let journalOverhead = ByteCount.mebibytes(8)

  /// ## Configuration keys
  /// `name`, `from`, `subscribe`, `to` (required), `max_record`, `expire_after`, `journal`, and
  /// those of `DeduplicationOptions`, `FilterOptions` and `IngestOptions.readAdmission`.
  init(path: String, section: inout SectionReader, gatewayID: String?) {
    let template = ConnectionOptions(
      endpoints: [BrokerOptions.placeholder], clientID: "placeholder")
    self.path = path
    ingest = IngestOptions(
      connection: template, subscriptions: [],
      deduplication: DeduplicationOptions(selector: .json(pointers: ["/messageId"])))
    journal = JournalOptions(gatewayID: gatewayID ?? "", routeName: "", sinks: [])
    name = section.required("name", .identifier(byteCountMax: Limits.identifierByteCountMax)) ?? ""
    from = section.required("from", .brokerName) ?? ""
    if !section.isPresent("subscribe") {
      section.reportMissing("subscribe", accepted: "a list of topic filters")
    }
    ingest.subscriptions =
      section.list("subscribe", of: .topicFilter, count: 1...RouteOptions.subscriptionsMax) ?? []
    ingest.deduplication.read(&section)
    ingest.readAdmission(&section)
    ingest.filter.read(&section)
    section.read(
      "max_record", .byteCount(Self.recordRange), into: &ingest.recordByteCountMax)
    section.read(
      "expire_after", .duration(Self.expiryRange), none: "none", into: &journal.expireAfter)
    readJournal(&section)
    readSinks(&section, gatewayID: gatewayID)
    checkSizes(section.findings)
    checkDelays(section.findings)
    checkQuota(section.findings)
    checkSourceLimits(section.findings)
    checkTopicRules(section.findings)
    checkFilter(section.findings)
    checkSubscriptions(section.findings)
  }

  private mutating func readJournal(_ section: inout SectionReader) {
    section.section("journal") { journal in
      journal.read(
        "size", .byteCount(Self.journalRange, multipleOf: 4_096), into: &self.journal.capacity)
      journal.read("when_full", .choice, into: &self.journal.whenFull)
      journal.read("source_quota", .quotaSize, none: "none", into: &ingest.sourceQuota)
      journal.section("commit") { commit in
        commit.read(
          "min_delay", .duration(Self.commitDelayMinRange), into: &ingest.commitDelayMin)
        commit.read(
          "max_delay", .duration(Self.commitDelayRange), into: &ingest.commitDelayMax)
        commit.read(
          "max_bytes", .byteCount(Self.commitByteRange), into: &self.journal.commitByteCountMax)
      }
    }
  }

  private mutating func readSinks(_ section: inout SectionReader, gatewayID: String?) {
    var sinks: [SinkSection] = []
    let route = name
    section.sections("to", count: 1...Limits.sinksPerRouteMax) { _, sink in
      sinks.append(SinkSection(section: &sink, gatewayID: gatewayID, route: route))
    }
    self.sinks = sinks
    var first: [String: String] = [:]
    for sink in sinks where !sink.options.name.isEmpty {
      if let other = first.updateValue(sink.path, forKey: sink.options.name) {
        section.findings.error(
          at: sink.path + ".name",
          "\(sink.options.name) is the name of \(other) already; a name is the identity of a cursor"
        )
      }
    }
  }

  /// max_record ≤ commit.max_bytes ≤ data region / 8.
  private func checkSizes(_ findings: Findings) {
    let commitMax = journal.commitByteCountMax
    if ingest.recordByteCountMax > commitMax {
      findings.error(
        at: path + ".max_record",
        "\(ingest.recordByteCountMax) does not fit in one commit; accepted: at most "
          + "journal.commit.max_bytes, which is \(commitMax)")
    }
    let eighth = ByteCount(
      max(0, journal.capacity.rawValue - Self.journalOverhead.rawValue) / 8)
    if commitMax > eighth {
      let needed = ByteCount(commitMax.rawValue * 8 + Self.journalOverhead.rawValue)
      findings.error(
        at: path + ".journal.commit.max_bytes",
        "\(commitMax) is more than an eighth of the journal's data; accepted: at most \(eighth), "
          + "or journal.size of at least \(needed)")
    }
  }

  private func checkDelays(_ findings: Findings) {
    guard ingest.commitDelayMin > ingest.commitDelayMax else { return }
    findings.error(
      at: path + ".journal.commit.min_delay",
      "\(Quantity.text(ingest.commitDelayMin)) is longer than a PUBACK may wait; accepted: at most "
        + "journal.commit.max_delay, which is \(Quantity.text(ingest.commitDelayMax))")
  }

  /// At least one record, and not so little that the accounting's own steps would refuse.
  private func checkQuota(_ findings: Findings) {
    guard let quota = ingest.sourceQuota else { return }
    let place = path + ".journal.source_quota"
    let data = max(0, journal.capacity.rawValue - Self.journalOverhead.rawValue)
    let bytes = quota.byteCount(dataByteCount: data)
    let least = ByteCount(max(data / 20, ingest.recordByteCountMax.rawValue))
    if bytes < least {
      findings.error(
        at: place,
        "\(bytes) of the journal is too little; accepted: at least max_record and a twentieth of "
          + "the journal's data, which is \(least)")
    }
    if bytes.rawValue > data {
      findings.error(
        at: place, "\(bytes) is more than the journal's data, which is \(ByteCount(data))")
    }
    if !sinks.isEmpty, sinks.allSatisfy({ !$0.options.required }) {
      findings.warning(
        at: place, "limits nothing: it counts what a required destination has not got, and none is")
    }
  }

  private func checkSubscriptions(_ findings: Findings) {
    let filters = ingest.subscriptions
    for (index, filter) in filters.enumerated() {
      for (other, earlier) in filters[..<index].enumerated() {
        let place = "\(path).subscribe[\(index)]"
        if filter == earlier {
          findings.error(at: place, "is listed already as subscribe[\(other)]; remove one of them")
        } else if TopicFilters.overlap(filter, earlier), !TopicFilters.covers(filter, earlier),
          !TopicFilters.covers(earlier, filter)
        {
          findings.warning(
            at: place,
            "overlaps subscribe[\(other)] (\(Findings.shown(earlier))): a broker may send such "
              + "messages twice; over MQTT 3.1.1 that is absorbed only where they carry an id")
        }
      }
    }
  }
}

extension ScalarKind where Value == QuotaSize {
  /// A share of the data region or a size.
  static var quotaSize: ScalarKind {
    let range = RouteSection.quotaPercentRange
    let size = ScalarKind<ByteCount>.byteCount(RouteSection.quotaByteRange)
    let accepted = "\(range.lowerBound)% to \(range.upperBound)%, or \(size.accepted)"
    return ScalarKind(accepted: accepted) { (text) throws(Rejection) in
      guard text.hasSuffix("%") else { return .bytes(try size.read(text)) }
      return .percent(try ScalarKind<Int>.integer(range).read(String(text.dropLast())))
    }
  }
}

extension ScalarKind where Value == String {
  static var brokerName: ScalarKind { identifier(byteCountMax: Limits.identifierByteCountMax) }
}
