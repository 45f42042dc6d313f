import Filtering
import GatewayCore
import Ingest

extension FilterOptions {
  static let intervalRange = Duration.milliseconds(100)...Duration.seconds(86_400)
  static let silenceRange = Duration.seconds(1)...Duration.seconds(30 * 86_400)

  /// ## Configuration keys
  /// On the route: `filter`, with `include`, `exclude`, `fields` (a list of sections with
  /// `pointer`, `topics`, `key`, `dead_band`, `min_interval`, `max_silence`) and `aggregate` (with
  /// `every`, `field`, `topics`, `key`, `functions`, `keep_raw`, `topic_suffix`).
  mutating func read(_ route: inout SectionReader) {
    var options = FilterOptions()
    let isFiltering = route.optionalSection("filter") { section in
      let count = 1...Self.topicsMax
      options.include = section.list("include", of: .topicFilter, count: count, orWord: "all") ?? []
      options.exclude =
        section.list("exclude", of: .topicFilter, count: count, orWord: "none") ?? []
      var fields: [FieldRule] = []
      let hasFields = section.optionalSections("fields", count: 1...Self.fieldsMax) { _, rule in
        fields.append(FieldRule(&rule))
      }
      if hasFields { options.fields = fields }
      var aggregate: AggregateOptions?
      if section.optionalSection("aggregate", { aggregate = AggregateOptions(&$0) }) {
        options.aggregate = aggregate
      }
    }
    if isFiltering { self = options }
  }
}

extension FieldRule {
  fileprivate init(_ section: inout SectionReader) {
    self.init(pointer: section.required("pointer", .jsonPointer) ?? "/value")
    let filters = section.list(
      "topics", of: .topicFilter, count: 1...FilterOptions.topicsMax, orOne: true)
    if let filters { topics = filters }
    key = section.value("key", .jsonPointer)
    deadBand = section.value("dead_band", .deadBand)
    minInterval = section.value("min_interval", .duration(FilterOptions.intervalRange))
    maxSilence = section.value("max_silence", .duration(FilterOptions.silenceRange))
    if !section.isPresent("dead_band"), !section.isPresent("min_interval") {
      section.findings.error(
        at: section.path,
        "filters nothing; accepted: dead_band, as in 0.5 or 2%, or min_interval, "
          + "as in 10s, or both")
    }
    if let silence = maxSilence, let interval = minInterval, silence < interval {
      section.findings.error(
        at: section.keyPath("max_silence"),
        "\(Quantity.text(silence)) is shorter than min_interval, which is "
          + Quantity.text(interval)
      )
    }
  }
}

extension AggregateOptions {
  static let everyRange = Duration.seconds(1)...Duration.seconds(86_400)
  static let suffixByteCountMax = 64

  fileprivate init(_ section: inout SectionReader) {
    self.init(
      every: section.required("every", .wholeSeconds(Self.everyRange)) ?? .seconds(60), fields: [])
    if !section.isPresent("field") {
      section.reportMissing("field", accepted: "the JSON pointer of a number, or a list of them")
    }
    fields =
      section.list("field", of: .jsonPointer, count: 1...Self.fieldsMax, orOne: true) ?? ["/value"]
    let filters = section.list(
      "topics", of: .topicFilter, count: 1...FilterOptions.topicsMax, orOne: true)
    if let filters { topics = filters }
    key = section.value("key", .jsonPointer)
    let kinds = section.list(
      "functions", of: ScalarKind<AggregateFunction>.choice,
      count: 1...AggregateFunction.allCases.count)
    if let kinds { functions = kinds }
    section.read("keep_raw", .boolean, into: &keepsRaw)
    section.read("topic_suffix", .topicSuffix, into: &topicSuffix)
    if Set(fields).count < fields.count || Set(functions).count < functions.count {
      section.findings.error(
        at: section.path, "names a field or a function twice; accepted: each of them once")
    }
  }
}

extension RouteSection {
  /// Rules for topics that never come to them.
  func checkFilter(_ findings: Findings) {
    let filter = ingest.filter
    for (index, topic) in ingest.subscriptions.enumerated() {
      let isExcluded = filter.exclude.contains { TopicFilters.covers($0, topic) }
      let isIncluded =
        filter.include.isEmpty || filter.include.contains { TopicFilters.overlap($0, topic) }
      guard isExcluded || !isIncluded else { continue }
      findings.warning(
        at: "\(path).subscribe[\(index)]",
        "brings nothing: filter.\(isExcluded ? "exclude has" : "include has none of") its topics")
    }
    func check(_ topics: [String], at place: String) {
      for topic in topics
      where !ingest.subscriptions.contains(where: { TopicFilters.overlap($0, topic) }) {
        findings.warning(
          at: place, "\(Findings.shown(topic)) has no topic in common with what is subscribed to")
      }
    }
    for (index, rule) in filter.fields.enumerated() {
      check(rule.topics, at: "\(path).filter.fields[\(index)]")
    }
    if let aggregate = filter.aggregate {
      check(aggregate.topics, at: path + ".filter.aggregate")
    }
  }
}

extension ScalarKind where Value == DeadBand {
  static var deadBand: ScalarKind {
    ScalarKind(accepted: "a number, as in 0.5, or a share of the last value, as in 2%") {
      (text) throws(Rejection) in
      let isShare = text.hasSuffix("%")
      let digits = isShare ? String(text.dropLast()) : text
      // Nothing but digits and a point: no exponent, no sign, no name of a number.
      guard let first = digits.utf8.first, Quantity.isDigit(first),
        digits.utf8.allSatisfy({ Quantity.isDigit($0) || $0 == UInt8(ascii: ".") }),
        let value = Double(digits), value.isFinite
      else { throw Rejection("is not a number without a sign") }
      if isShare, value > 1000 { throw Rejection("is too large") }
      return isShare ? .percent(value) : .absolute(value)
    }
  }
}

extension DeadBand {
  /// As it is written in a file.
  var text: String {
    func plain(_ value: Double) -> String {
      value == value.rounded() && value < 1e15 ? String(Int64(value)) : "\(value)"
    }
    switch self {
    case .absolute(let width): return plain(width)
    case .percent(let share): return plain(share) + "%"
    }
  }
}

extension ScalarKind where Value == String {
  /// What a topic has behind it: one or more levels, the slash included.
  fileprivate static var topicSuffix: ScalarKind {
    ScalarKind(
      accepted: "/ and at least one level without + and #, at most "
        + "\(AggregateOptions.suffixByteCountMax) bytes, as in /aggregate"
    ) { (text) throws(Rejection) in
      guard text.hasPrefix("/"), text != "/" else { throw Rejection("does not begin with /") }
      guard text.utf8.count <= AggregateOptions.suffixByteCountMax else {
        throw Rejection("is too long")
      }
      return try topicName.read(text)
    }
  }
}
