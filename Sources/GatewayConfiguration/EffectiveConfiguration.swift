// Every value in force, as YAML that reads back to the same options. Deterministic: the order is
// the order of this file, brokers and routes keep theirs. A password from the environment is
// printed as the variable it comes from, one from a file as the file: no secret is ever in this
// text.

import Batching
import Deduplication
import Envelope
import Filtering
import GatewayCore
import Ingest
import Mosquitto
import Observability
import RingJournal
import Upstream

extension GatewayOptions {
  /// Every value in force, secrets masked; `Configuration.parse` reads it back to these options.
  package var effectiveText: String { EffectiveConfiguration.text(of: self) }
}

enum EffectiveConfiguration {
  static func text(of options: GatewayOptions) -> String {
    var writer = YAMLWriter()
    writer.section("gateway") { gateway in
      gateway.line("id", options.gatewayID)
      gateway.line("site", options.site)
      gateway.line("data_directory", quoting: options.dataDirectory)
      gateway.line("data_directory_is_mount", options.dataDirectoryIsMount)
    }
    writer.section("brokers") { brokers in
      for broker in options.brokers {
        brokers.section(broker.name) { write(broker, &$0) }
      }
    }
    writer.section("routes") { routes in
      for route in options.routes {
        routes.element { write(route, &$0) }
      }
    }
    write(options.observability, options.logging, &writer)
    return writer.text
  }

  static func write(
    _ observability: ObservabilityOptions, _ logging: LoggingOptions, _ writer: inout YAMLWriter
  ) {
    writer.section("observability") { section in
      if let listen = observability.listen {
        section.line("listen", quoting: listen.description)
        section.line("allow_remote", !listen.isLoopback)
      } else {
        section.line("listen", "none")
      }
    }
    writer.section("logging") { section in
      section.line("level", logging.level.rawValue)
      section.line("format", logging.format.rawValue)
    }
  }

  private static func write(_ broker: BrokerOptions, _ section: inout YAMLWriter) {
    writeConnection(broker, &section)
    section.line(
      "failback", broker.connection.failbackInterval.map(Quantity.text) ?? "none")
    if let topic = broker.statusTopic {
      section.line("status_topic", quoting: topic)
    } else {
      section.line("status_topic", "none")
    }
    if broker.link != LinkOptions() { section.section("link") { write(broker.link, &$0) } }
  }

  /// What a hub's file has of a broker, too.
  static func writeConnection(_ broker: BrokerOptions, _ section: inout YAMLWriter) {
    let connection = broker.connection
    section.list("url", quoting: connection.endpoints.map(\.url))
    section.line("client_id", quoting: connection.clientID)
    switch connection.protocolVersion {
    case .v5:
      section.line("protocol", "5")
      section.line("receive_maximum", String(connection.receiveMaximum))
      section.line("session_expiry", Quantity.text(connection.sessionExpiry))
    case .v311:
      section.line("protocol", "3.1.1")
    }
    section.line("keep_alive", Quantity.text(connection.keepAlive))
    if let username = connection.username { section.line("username", quoting: username) }
    switch connection.password {
    case .file(let path): section.line("password_file", quoting: path)
    case .value:
      precondition(
        broker.passwordVariable != nil, "a password is a file or comes from a variable")
      section.line("password", "\"${env:\(broker.passwordVariable ?? "")}\"")
    case nil: break
    }
    section.line("insecure_plaintext", broker.insecurePlaintext)
    if let tls = connection.tls, tls != TLSOptions() {
      section.section("tls") { section in
        if let file = tls.authorityFile { section.line("ca_file", quoting: file) }
        if let file = tls.certificateFile { section.line("cert_file", quoting: file) }
        if let file = tls.keyFile { section.line("key_file", quoting: file) }
        if let name = tls.applicationProtocol { section.line("alpn", quoting: name) }
        if let key = tls.presharedKey {
          section.line("psk_identity", quoting: key.identity)
          section.line("psk_file", quoting: key.keyFile)
        }
      }
    }
  }

  private static func write(_ route: RouteOptions, _ section: inout YAMLWriter) {
    section.line("name", quoting: route.name)
    section.line("from", quoting: route.source)
    section.list("subscribe", quoting: route.ingest.subscriptions, alwaysList: true)
    let deduplication = route.ingest.deduplication
    switch deduplication.selector {
    case .json(let pointers): section.section("message_id") { $0.list("json", quoting: pointers) }
    case .userProperty(let name):
      section.section("message_id") { $0.line("user_property", quoting: name) }
    case .content(let within):
      section.section("message_id") {
        $0.line("content", true)
        $0.line("within", Quantity.text(within))
      }
    case .none: section.line("message_id", "none")
    }
    section.line("missing_id", deduplication.missingID.rawValue)
    section.line("on_conflict", deduplication.onConflict.rawValue)
    section.section("deduplication") { section in
      if let window = deduplication.window {
        section.line("window", String(window))
      } else {
        let inForce = deduplication.window(ringCapacity: route.journal.capacity)
        section.line("window", "auto", comment: "\(inForce) ids")
      }
    }
    writeAdmission(route.ingest, &section)
    write(route.ingest.filter, &section)
    section.line("max_record", route.ingest.recordByteCountMax.description)
    section.line("expire_after", route.journal.expireAfter.map(Quantity.text) ?? "none")
    section.section("journal", comment: Findings.shown(route.journalPath, lengthMax: 240)) {
      section in
      section.line("size", route.journal.capacity.description)
      section.line("when_full", route.journal.whenFull.rawValue)
      section.line("source_quota", route.ingest.sourceQuota.map(Quantity.text) ?? "none")
      section.section("commit") { section in
        section.line("min_delay", Quantity.text(route.ingest.commitDelayMin))
        section.line("max_delay", Quantity.text(route.ingest.commitDelayMax))
        section.line("max_bytes", route.journal.commitByteCountMax.description)
      }
    }
    section.section("to") { list in
      for (sink, broker) in zip(route.sinks, route.sinkBrokers) {
        list.element { write(sink, broker: broker, &$0) }
      }
    }
  }

  private static func writeAdmission(_ ingest: IngestOptions, _ section: inout YAMLWriter) {
    section.list("allow", quoting: ingest.allowedTopics, orWord: "all")
    section.list("deny", quoting: ingest.deniedTopics, orWord: "none")
    guard !ingest.sourceLimits.isEmpty else { return section.line("source_limits", "none") }
    section.section("source_limits") { list in
      for limit in ingest.sourceLimits {
        list.element { section in
          section.list("topics", quoting: limit.topics, alwaysList: true)
          if let rate = limit.rate {
            section.line("rate", rate.text)
            section.line("burst", String(limit.burst ?? rate.count))
          }
          if let size = limit.recordByteCountMax { section.line("max_record", size.description) }
        }
      }
    }
  }

  private static func write(_ filter: FilterOptions, _ section: inout YAMLWriter) {
    guard !filter.isEmpty else { return section.line("filter", "none") }
    section.section("filter") { section in
      section.list("include", quoting: filter.include, orWord: "all")
      section.list("exclude", quoting: filter.exclude, orWord: "none")
      if filter.fields.isEmpty {
        section.line("fields", "none")
      } else {
        section.section("fields") { list in
          for rule in filter.fields { list.element { write(rule, &$0) } }
        }
      }
      guard let aggregate = filter.aggregate else { return section.line("aggregate", "none") }
      section.section("aggregate") { write(aggregate, &$0) }
    }
  }

  private static func write(_ rule: FieldRule, _ section: inout YAMLWriter) {
    section.line("pointer", quoting: rule.pointer)
    section.list("topics", quoting: rule.topics, alwaysList: true)
    if let key = rule.key { section.line("key", quoting: key) }
    if let band = rule.deadBand { section.line("dead_band", band.text) }
    if let interval = rule.minInterval { section.line("min_interval", Quantity.text(interval)) }
    if let silence = rule.maxSilence { section.line("max_silence", Quantity.text(silence)) }
  }

  private static func write(_ aggregate: AggregateOptions, _ section: inout YAMLWriter) {
    section.line("every", Quantity.text(aggregate.every))
    section.list("field", quoting: aggregate.fields)
    section.list("topics", quoting: aggregate.topics, alwaysList: true)
    if let key = aggregate.key { section.line("key", quoting: key) }
    section.list("functions", quoting: aggregate.functions.map(\.rawValue), alwaysList: true)
    section.line("keep_raw", aggregate.keepsRaw)
    section.line("topic_suffix", quoting: aggregate.topicSuffix)
  }

  private static func write(
    _ sink: SinkOptions, broker: String, _ section: inout YAMLWriter
  ) {
    section.line("name", quoting: sink.name)
    section.line("broker", quoting: broker)
    section.line("required", sink.required)
    section.line("start", sink.start.rawValue)
    section.line("accept", sink.acceptance.rawValue)
    if sink.acceptance == .hub {
      section.line("accept_timeout", Quantity.text(sink.acceptTimeout))
      section.line("max_unaccepted", String(sink.unacceptedMax))
    }
    section.line("accept_no_subscriber", sink.acceptsNoSubscriber)
    section.line("format", sink.batch.format.rawValue)
    switch sink.batch.format {
    case .cloudEventsBatch:
      section.line("topic", quoting: sink.topic)
      section.section("batch") { section in
        section.line("max_records", String(sink.batch.recordCountMax))
        section.line("max_bytes", sink.batch.byteCountMax.description)
        section.line("max_delay", Quantity.text(sink.batch.delayMax))
      }
    case .raw:
      section.section("topic_map") { write(sink.topicMap, &$0) }
    }
    section.line("compression", sink.batch.compression.rawValue)
    if sink.batch.compression == .zstd {
      section.line("compression_level", String(sink.batch.compressionLevel))
    }
    section.line("max_in_flight", String(sink.inFlightMax))
    section.line("answer_timeout", Quantity.text(sink.answerTimeout))
    section.line("max_packet", sink.packetByteCountMax?.description ?? "none")
    section.line("drain", sink.drain.rawValue)
    write(sink.rateLimit, &section)
    section.line("priority", String(sink.priority))
    section.line("urgent", sink.isUrgent)
    section.section("dead_letter") { section in
      section.line("file", sink.deadLetterCapacity.description)
      if let topic = sink.deadLetterTopic { section.line("topic", quoting: topic) }
    }
  }
}

extension EffectiveConfiguration {
  private static func write(_ link: LinkOptions, _ section: inout YAMLWriter) {
    write(link.rateLimit, &section)
    if let window = link.connectWindow {
      section.list("connect_window", quoting: window.spans.map(\.text), alwaysList: true)
    } else {
      section.line("connect_window", "always")
    }
    section.line("time_zone", link.timeZone.rawValue)
    guard let budget = link.dataBudget else { return section.line("data_budget", "none") }
    section.section("data_budget") { section in
      section.line("bytes", budget.byteCount.description)
      section.line("per", budget.period.rawValue)
      if budget.period == .month { section.line("resets_on", String(budget.resetsOn)) }
      section.line("when_spent", budget.whenSpent.rawValue)
    }
  }

  private static func write(_ limit: RateLimit?, _ section: inout YAMLWriter) {
    guard let limit else { return section.line("rate_limit", "none") }
    section.section("rate_limit") { section in
      section.line("rate", "\(limit.amountText(limit.perSecond))/s")
      section.line("burst", limit.amountText(limit.burst))
      section.line("applies_to", limit.scope.rawValue)
    }
  }

  private static func write(_ map: TopicMap, _ section: inout YAMLWriter) {
    guard !map.rules.isEmpty else {
      section.line("remove_prefix", quoting: map.removePrefix)
      section.line("add_prefix", quoting: map.addPrefix)
      return
    }
    section.section("rules") { list in
      for rule in map.rules {
        list.element { element in
          element.line("from", quoting: rule.source)
          element.line("to", quoting: rule.target)
        }
      }
    }
  }
}

/// Block-style YAML, two spaces a level.
struct YAMLWriter {
  private(set) var text = ""
  private var indentation = 0
  /// The next line begins a list element.
  private var isElementStart = false

  mutating func line(_ key: String, _ value: String, comment: String? = nil) {
    begin()
    text += "\(key): \(value)" + (comment.map { "  # \($0)" } ?? "") + "\n"
  }

  mutating func line(_ key: String, _ value: Bool) { line(key, value ? "true" : "false") }

  mutating func line(_ key: String, quoting value: String) { line(key, Self.quoted(value)) }

  /// One value as a scalar where the schema takes either.
  mutating func list(_ key: String, quoting values: [String], alwaysList: Bool = false) {
    if values.count == 1, !alwaysList {
      line(key, quoting: values[0])
    } else {
      line(key, "[" + values.map(Self.quoted).joined(separator: ", ") + "]")
    }
  }

  /// An empty list is written as the word that stands for it.
  mutating func list(_ key: String, quoting values: [String], orWord word: String) {
    if values.isEmpty { line(key, word) } else { list(key, quoting: values, alwaysList: true) }
  }

  mutating func section(
    _ key: String, comment: String? = nil, _ body: (inout YAMLWriter) -> Void
  ) {
    begin()
    text += "\(key):" + (comment.map { "  # \($0)" } ?? "") + "\n"
    indentation += 1
    body(&self)
    indentation -= 1
  }

  mutating func element(_ body: (inout YAMLWriter) -> Void) {
    isElementStart = true
    indentation += 1
    body(&self)
    indentation -= 1
  }

  private mutating func begin() {
    let level = isElementStart ? indentation - 1 : indentation
    text += String(repeating: "  ", count: level) + (isElementStart ? "- " : "")
    isElementStart = false
  }

  /// Plain when nothing in it could be taken for YAML; otherwise in double quotes.
  private static func quoted(_ value: String) -> String {
    let isWord = Identifier.isValid(value, byteCountMax: 64)
    if isWord { return value }
    var result = "\""
    for character in value.replacingDollarBrace().unicodeScalars {
      switch character {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\u{FEFF}", "\u{FFFE}", "\u{FFFF}":
        // Not printable in YAML, so never as themselves.
        result += "\\u\(String(character.value, radix: 16, uppercase: true))"
      default: result.unicodeScalars.append(character)
      }
    }
    return result + "\""
  }
}

extension String {
  /// `${` as `$${`, so that reading it back does not substitute.
  fileprivate func replacingDollarBrace() -> String {
    var result = ""
    var rest = Substring(self)
    while let dollar = rest.firstIndex(of: "$") {
      result += rest[..<dollar]
      rest = rest[dollar...]
      if rest.hasPrefix("${") { result += "$" }
      result.append("$")
      rest = rest.dropFirst()
    }
    return result + rest
  }
}
