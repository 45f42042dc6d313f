package import GatewayCore
package import JSONScanning

/// Sums up readings, series by series, window by window. Every reading is in the journal before it
/// is summed up, flagged, and every aggregate after it: what is known here is no more than a copy
/// that `AggregateRecovery` can make again (see Decisions/0001).
///
/// ## The owner's part
/// 1. `reading` tells whether a message is one, and of which series.
/// 2. `isDue` before it is journalled: if so, all open aggregates are journalled first, each by
///    `next` and `closed`. So all readings of a series behind its last aggregate are of one
///    window.
/// 3. The reading is journalled, with its flag, then entered by `add`.
///
/// Pure: the caller brings time and sequences. Nothing is allocated per message; the topic and key
/// of a series are copied when it has its first reading.
package struct Aggregator: Sendable {
  /// Series that are told apart; the readings of others pass as they are.
  package static let capacityDefault = 10_000
  /// Bytes of a topic and a key: what is longer passes as it is.
  package static let nameByteCountMax = 1024

  /// One reading, of the message at hand. Good until the next one.
  package struct Reading: Sendable {
    let place: Int
    /// By field; NaN where there is no number.
    fileprivate let values: [4 of Double]
  }

  /// The sums of one field in an open window.
  struct Sums: Sendable {
    var count: UInt64 = 0
    var min = 0.0
    var max = 0.0
    var sum = 0.0
    var first = 0.0
    var last = 0.0

    mutating func add(_ value: Double) {
      min = count == 0 ? value : Swift.min(min, value)
      max = count == 0 ? value : Swift.max(max, value)
      if count == 0 { first = value }
      last = value
      sum += value
      count += 1
    }
  }

  /// What is known of a series.
  struct Series: Sendable {
    /// Topic, then key.
    var name: [UInt8] = []
    var topicByteCount = 0
    /// Tells the series of an aggregate in the journal.
    var digest: UInt64 = 0
    /// Readings in the open window; 0: none is open.
    var count: UInt64 = 0
    var first = Sequence.none
    var last = Sequence.none
    /// Of the first reading: tells the window.
    var openedAt = WallTime(nanoseconds: 0)
  }

  let options: AggregateOptions
  private let filters: TopicFilters
  /// Numbers of the pointers to the fields, and to the key.
  private let fields: [Int]
  private let key: Int?
  private var table: SeriesTable
  private var series: [Series]
  /// By place and field.
  private var sums: [Sums]
  /// Places of the series that have an open window, in order of their first readings.
  private var open: [Int] = []
  /// How many of them are closed.
  private var closedCount = 0
  /// The window that is open, of all series.
  private var window: Int64 = 0
  /// Bytes journalled since a window was opened.
  private var byteCount = 0
  private var mayReclaim = false
  package private(set) var untrackedCount: UInt64 = 0

  /// - Parameter pointers: collects the JSON pointers.
  package init(
    _ options: AggregateOptions, pointers: inout [JSONPointer], capacity: Int = capacityDefault
  ) throws(JSONPointerError) {
    precondition(
      (1...4).contains(options.fields.count) && options.every > .zero,
      "the configuration bounds the fields")
    self.options = options
    filters = TopicFilters(options.topics)
    var fields: [Int] = []
    for field in options.fields {
      pointers.append(try JSONPointer(field))
      fields.append(pointers.count - 1)
    }
    self.fields = fields
    if let key = options.key {
      pointers.append(try JSONPointer(key))
      self.key = pointers.count - 1
    } else {
      key = nil
    }
    table = SeriesTable(capacity: capacity)
    series = [Series](repeating: Series(), count: capacity)
    sums = [Sums](repeating: Sums(), count: capacity * options.fields.count)
    open.reserveCapacity(capacity)
  }

  /// Series with a place.
  package var seriesCount: Int { table.places.count }

  /// Whether some window is open.
  package var isOpen: Bool { closedCount < open.count }

  // MARK: - Readings

  /// The reading that a message is; nil: it is none, or there is no place for its series.
  /// - Parameter json: has scanned this payload for the pointers.
  package mutating func reading(
    topic: Span<UInt8>, payload: Span<UInt8>, json: borrowing JSONScanner
  ) -> Reading? {
    guard filters.matches(topic) else { return nil }
    var values: [4 of Double] = .init(repeating: .nan)
    var isReading = false
    for index in fields.indices {
      guard let match = json.match(fields[index]), match.kind == .number,
        let value = JSONDouble.value(of: payload.extracting(match.token))
      else { continue }
      values[index] = value
      isReading = true
    }
    guard isReading else { return nil }
    let key = payload.extracting(SeriesTable.key(self.key, json))
    guard topic.count + key.count <= Self.nameByteCountMax,
      let found = place(of: table.hash(domain: 0, topic: topic, key: key))
    else {
      untrackedCount += 1
      return nil
    }
    if found.isNew { name(found.place, topic, key) }
    return Reading(place: found.place, values: values)
  }

  private mutating func place(of hash: UInt64) -> (place: Int, isNew: Bool)? {
    if let found = table.place(of: hash) { return found }
    // Looking at all of them takes a while, so only when one was closed.
    guard mayReclaim else { return nil }
    mayReclaim = false
    let series = self.series
    table.reclaim { series[$0].count == 0 }
    return table.place(of: hash)
  }

  private mutating func name(_ place: Int, _ topic: Span<UInt8>, _ key: Span<UInt8>) {
    series[place] = Series(topicByteCount: topic.count)
    series[place].name.reserveCapacity(topic.count + key.count)
    series[place].name.append(topic)
    series[place].name.append(key)
    series[place].digest = SeriesTable.publicDigest(topic: topic, key: key)
  }

  /// Enters a reading that the journal has taken.
  /// - Parameters:
  ///   - sequence: above all that were entered before.
  ///   - time: when it was received; its window is open, or none is.
  package mutating func add(_ reading: Reading, sequence: Sequence, at time: WallTime) {
    if !isOpen {
      open.removeAll(keepingCapacity: true)
      closedCount = 0
      byteCount = 0
      window = self.window(of: time)
    }
    if series[reading.place].count == 0 { open.append(reading.place) }
    enter(reading, sequence: sequence, at: time)
  }

  private mutating func enter(_ reading: Reading, sequence: Sequence, at time: WallTime) {
    let place = reading.place
    if series[place].count == 0 {
      series[place].first = sequence
      series[place].openedAt = time
    }
    series[place].count += 1
    series[place].last = sequence
    for field in fields.indices where !reading.values[field].isNaN {
      sums[place * fields.count + field].add(reading.values[field])
    }
  }

  // MARK: - Windows

  /// So many bytes of any kind have been journalled.
  package mutating func journalled(byteCount: Int) { self.byteCount += byteCount }

  /// Whether the open aggregates must be journalled before anything else: their window is over (or
  /// the clock was set), or so much has been journalled since that its first reading must not wait
  /// any longer before it is in an aggregate.
  package func isDue(at time: WallTime, byteCountMax: Int) -> Bool {
    isOpen && (window(of: time) != window || byteCount >= byteCountMax)
  }

  func window(of time: WallTime) -> Int64 {
    let every = options.every.nanoseconds
    let (quotient, remainder) = time.nanoseconds.quotientAndRemainder(dividingBy: every)
    return remainder < 0 ? quotient - 1 : quotient
  }

  /// The first of the open aggregates, as it is journalled; `closed` before the one after it.
  package func next(at time: WallTime) -> Aggregate? {
    guard isOpen else { return nil }
    let place = open[closedCount]
    let start = place * fields.count
    return Aggregate(
      series[place], sums[start..<start + fields.count], options,
      window: window(of: series[place].openedAt), isEarly: window(of: time) == window)
  }

  /// Forgets an aggregate that the journal has taken.
  package mutating func closed() {
    precondition(isOpen, "an aggregate was journalled")
    reset(open[closedCount])
    closedCount += 1
  }

  private mutating func reset(_ place: Int) {
    mayReclaim = true
    series[place].count = 0
    for field in fields.indices { sums[place * fields.count + field] = Sums() }
  }

  // MARK: - Out of the journal

  /// As `add`, for a reading that was found in the journal.
  mutating func recover(_ reading: Reading, sequence: Sequence, at time: WallTime) -> UInt64 {
    enter(reading, sequence: sequence, at: time)
    return series[reading.place].digest
  }

  /// An aggregate that was found in the journal has all readings of its series before it.
  mutating func recoverAggregate(of place: Int, digest: UInt64) {
    if series[place].digest == digest { reset(place) }
  }

  /// All has been found. What is open goes on, or is due.
  mutating func finishRecovery() {
    open = series.indices.filter { series[$0].count > 0 }
      .sorted { series[$0].first < series[$1].first }
    closedCount = 0
    // The readings of a window that was not closed are of one window, but for the steps of a clock:
    // then all are closed at once.
    window = open.map { window(of: series[$0].openedAt) }.min() ?? 0
  }
}
