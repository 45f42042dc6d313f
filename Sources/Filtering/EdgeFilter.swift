package import GatewayCore
package import JSONScanning

/// What becomes of a message before it is journalled: by its topic, by what its fields say, and
/// whether it is a reading that is summed up. The last has precedence: a reading is journalled
/// whatever the fields say, because its aggregate needs it; it is then not delivered itself.
///
/// Pure: the caller brings time and sequences.
package struct EdgeFilter: Sendable {
  package enum Verdict: Sendable {
    case passes
    case filtered(FilterReason)
    /// Journalled and summed up; delivered itself or not.
    case reading(Aggregator.Reading, isDelivered: Bool)
  }

  private let include: TopicFilters
  private let exclude: TopicFilters
  private var fields: FieldFilter?
  package var aggregator: Aggregator?
  /// What the scan of a payload must look for: those of the id first.
  package let pointers: [JSONPointer]

  /// - Parameters:
  ///   - identity: the pointers of the id.
  ///   - recovered: made for the same options behind the same pointers.
  package init(
    _ options: FilterOptions, behind identity: [JSONPointer], recovered: Aggregator? = nil
  ) throws(JSONPointerError) {
    include = TopicFilters(options.include)
    exclude = TopicFilters(options.exclude)
    var pointers = identity
    if let aggregate = options.aggregate {
      let aggregator = try Aggregator(aggregate, pointers: &pointers)
      self.aggregator = recovered ?? aggregator
    }
    if !options.fields.isEmpty {
      fields = try FieldFilter(options.fields, pointers: &pointers)
    }
    self.pointers = pointers
  }

  /// Whether the topic passes.
  package func passes(_ topic: Span<UInt8>) -> Bool {
    (include.isEmpty || include.matches(topic)) && (exclude.isEmpty || !exclude.matches(topic))
  }

  /// What becomes of a message whose topic passes.
  /// - Parameter json: has scanned this payload for `pointers`.
  package mutating func judge(
    topic: Span<UInt8>, payload: Span<UInt8>, json: borrowing JSONScanner, now: MonotonicTime
  ) -> Verdict {
    let reading = aggregator?.reading(topic: topic, payload: payload, json: json)
    if let reading, aggregator?.options.keepsRaw == false {
      return .reading(reading, isDelivered: false)
    }
    let objection = fields?.judge(topic: topic, payload: payload, json: json, now: now)
    if let reading { return .reading(reading, isDelivered: objection == nil) }
    return objection.map { .filtered($0) } ?? .passes
  }

  /// Series that are told apart, by fields and aggregate together.
  package var seriesCount: Int { (fields?.seriesCount ?? 0) + (aggregator?.seriesCount ?? 0) }

  /// Messages that passed because there was no place for their series, since the start.
  package var untrackedCount: UInt64 {
    (fields?.untrackedCount ?? 0) + (aggregator?.untrackedCount ?? 0)
  }
}
