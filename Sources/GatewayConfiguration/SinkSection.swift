import Batching
import Envelope
import GatewayCore
import Mosquitto
import RingJournal
import Upstream

/// One entry of `to` as read.
struct SinkSection {
  /// `routes[0].to[0]`.
  var path: String
  /// The broker's name; empty when it was missing or wrong (and reported).
  var broker = ""
  var options: SinkOptions

  /// MQTT 5.0, section 2.1.4: four bytes of remaining length.
  static let packetRange = ByteCount.kibibytes(1)...ByteCount(268_435_455)
  static let batchDelayRange = Duration.milliseconds(1)...Duration.seconds(3_600)
  static let deadLetterRange = JournalOptions.capacityMin...ByteCount.gibibytes(1)
  static let acceptTimeoutRange = Duration.seconds(1)...Duration.seconds(3_600)
  static let answerTimeoutRange = Duration.seconds(1)...Duration.seconds(600)

  /// ## Configuration keys
  /// `name`, `broker` (required), `required`, `start`, `accept`, `accept_timeout`,
  /// `max_unaccepted`, `accept_no_subscriber`, `format`, `topic`, `topic_map`, `batch`,
  /// `compression`, `compression_level`, `max_in_flight`, `answer_timeout`, `max_packet`, `drain`,
  /// `rate_limit`, `priority`, `urgent`, `dead_letter`.
  init(section: inout SectionReader, gatewayID: String?, route: String) {
    path = section.path
    let template = ConnectionOptions(
      endpoints: [BrokerOptions.placeholder], clientID: "placeholder")
    options = SinkOptions(
      name: "", connection: template, topic: "penstock/v1/\(gatewayID ?? "")/\(route)")
    options.name =
      section.required("name", .identifier(byteCountMax: Limits.sinkNameByteCountMax)) ?? ""
    broker = section.required("broker", .brokerName) ?? ""
    section.read("required", .boolean, into: &options.required)
    section.read("start", .choice, into: &options.start)
    readAcceptance(&section)
    let format: BatchFormat? = section.value("format", .choice)
    if let format { options.batch.format = format }
    section.read("topic", .topicName, into: &options.topic)
    section.section("topic_map") { readTopicMap(&$0) }
    readBatch(&section)
    section.read(
      "max_in_flight", .integer(1...SinkOptions.inFlightLimit), into: &options.inFlightMax)
    section.read(
      "answer_timeout", .duration(Self.answerTimeoutRange), into: &options.answerTimeout)
    section.read(
      "max_packet", .byteCount(Self.packetRange), none: "none", into: &options.packetByteCountMax)
    section.read("drain", .choice, into: &options.drain)
    if options.drain == .liveFirst, options.acceptance == .hub {
      section.findings.error(
        at: section.keyPath("drain"),
        "live-first contradicts accept: hub, whose consumer takes a sequence that has not come yet "
          + "for one that is lost; accepted: \(DrainOrder.inOrder.rawValue), or accept: broker")
    }
    section.readRateLimit(into: &options.rateLimit)
    section.read("priority", .integer(LinkOptions.priorityRange), into: &options.priority)
    section.read("urgent", .boolean, into: &options.isUrgent)
    section.section("dead_letter") { letter in
      letter.read(
        "file", .byteCount(Self.deadLetterRange, multipleOf: 4_096),
        into: &options.deadLetterCapacity)
      letter.read("topic", .topicName, none: "none", into: &options.deadLetterTopic)
    }
    if format != nil || !section.isPresent("format") { checkFormat(section) }
    checkPacket(section.findings)
    checkRate(section.findings)
  }

  private mutating func readAcceptance(_ section: inout SectionReader) {
    section.read("accept", .choice, into: &options.acceptance)
    section.read(
      "accept_timeout", .duration(Self.acceptTimeoutRange), into: &options.acceptTimeout)
    section.read(
      "max_unaccepted", .integer(1...SinkOptions.unacceptedLimit), into: &options.unacceptedMax)
    section.read("accept_no_subscriber", .boolean, into: &options.acceptsNoSubscriber)
    switch options.acceptance {
    case .broker:
      for key in ["accept_timeout", "max_unaccepted"] where section.isPresent(key) {
        section.findings.error(
          at: section.keyPath(key), "has no effect with accept: broker; remove it, or accept: hub")
      }
    case .hub:
      if options.acceptsNoSubscriber {
        section.findings.error(
          at: section.keyPath("accept_no_subscriber"),
          "contradicts accept: hub, where the subscriber is who accepts; accepted: false")
      }
    }
  }

  private mutating func readTopicMap(_ map: inout SectionReader) {
    map.read("remove_prefix", .topicPrefix, into: &options.topicMap.removePrefix)
    map.read("add_prefix", .topicPrefix, into: &options.topicMap.addPrefix)
    var rules: [TopicRule] = []
    map.sections("rules", count: 1...TopicMap.rulesMax, first: "from", isRequired: false) {
      _, rule in
      let source = rule.required("from", .topicFilter)
      let target = rule.required("to", .topicFilter)
      guard let source, let target else { return }
      if rules.contains(where: { $0.source == source }) {
        rule.findings.error(
          at: rule.keyPath("from"), "is the one of a rule before this, which is the one that counts"
        )
      }
      guard let made = TopicRule(source: source, target: target) else {
        rule.findings.error(
          at: rule.keyPath("to"),
          "does not take what from captures; accepted: as many + as there, and # at the end "
            + "exactly where from has it")
        return
      }
      rules.append(made)
    }
    options.topicMap.rules = rules
    if map.isPresent("rules"), map.isPresent("remove_prefix") || map.isPresent("add_prefix") {
      map.findings.error(
        at: map.keyPath("rules"),
        "go without remove_prefix and add_prefix, which they replace; remove one or the other")
    }
  }

  private mutating func readBatch(_ section: inout SectionReader) {
    section.section("batch") { batch in
      batch.read(
        "max_records", .integer(1...BatchOptions.recordCountLimit),
        into: &options.batch.recordCountMax)
      batch.read("max_bytes", .byteCount(Self.packetRange), into: &options.batch.byteCountMax)
      batch.read("max_delay", .duration(Self.batchDelayRange), into: &options.batch.delayMax)
    }
    section.read("compression", .choice, into: &options.batch.compression)
    section.read(
      "compression_level", .integer(Compression.levels), into: &options.batch.compressionLevel)
  }

  /// What belongs to the other format is refused: it would have no effect.
  private mutating func checkFormat(_ section: SectionReader) {
    switch options.batch.format {
    case .cloudEventsBatch:
      if section.isPresent("topic_map") {
        section.findings.error(
          at: section.keyPath("topic_map"),
          "belongs to format: raw; with \(options.batch.format.rawValue) use topic")
      }
    case .raw:
      if options.acceptance == .hub {
        section.findings.error(
          at: section.keyPath("accept"),
          "hub needs sequences that a consumer can account for, which messages of format: raw do "
            + "not promise; accepted: broker, or format: \(BatchFormat.cloudEventsBatch.rawValue)")
      }
      if section.isPresent("topic") {
        section.findings.error(
          at: section.keyPath("topic"),
          "has no effect with format: raw, where records keep their own topics; use topic_map")
      }
      if section.isPresent("batch") {
        section.findings.error(
          at: section.keyPath("batch"),
          "has no effect with format: raw, where each record is its own message; remove it")
      }
      if section.isPresent("compression"), options.batch.compression != .none {
        section.findings.error(
          at: section.keyPath("compression"),
          "format: raw leaves payloads untouched; accepted: none")
      } else if section.isPresent("compression_level"), options.batch.compression != .none {
        section.findings.error(
          at: section.keyPath("compression_level"),
          "has no effect with format: raw, which leaves payloads untouched; remove it")
      }
      options.batch.compression = .none
    }
  }

  private func checkPacket(_ findings: Findings) {
    guard let packetMax = options.packetByteCountMax, options.batch.format == .cloudEventsBatch,
      options.batch.byteCountMax > packetMax
    else { return }
    findings.error(
      at: path + ".batch.max_bytes",
      "\(options.batch.byteCountMax) is more than the broker takes; accepted: at most max_packet, "
        + "which is \(packetMax)")
  }

  /// A bound that one batch uses up for long holds up everything behind that batch.
  private func checkRate(_ findings: Findings) {
    guard let limit = options.rateLimit, limit.unit == .bytes,
      options.batch.format == .cloudEventsBatch
    else { return }
    let seconds = options.batch.byteCountMax.rawValue / limit.perSecond
    guard seconds > Self.batchSecondsMax else { return }
    findings.warning(
      at: path + ".rate_limit",
      "one batch of batch.max_bytes, \(options.batch.byteCountMax), takes \(seconds) s at this "
        + "rate; set batch.max_bytes to what leaves in a few seconds")
  }

  private static let batchSecondsMax = 30
}
