import GatewayCore
import JSONScanning

/// Whether a reading says anything new. A message passes when any of the rules that apply lets it
/// pass, or none applies: a rule applies when it is for the topic and its pointer leads somewhere.
///
/// A rule lets pass what is not a number (a sensor that fails says `null`), the first value of a
/// series, a value outside the dead-band around the last one that passed and at least the minimum
/// interval after it, and anything after the maximum silence. When a message passes, the values of
/// all its rules are what passed last.
///
/// What is known of a series is in memory: after a restart its first value passes. So does
/// everything of the series beyond `capacity`, until one that has been silent for `idle` gives up
/// its place.
///
/// Pure: the caller brings the time. No allocation per message.
struct FieldFilter {
  /// Series that are told apart.
  static let capacityDefault = 10_000
  private static let idle: Int64 = 3_600_000_000_000
  private static let reclaimEvery: Int64 = 1_000_000_000

  private struct Rule {
    let filters: TopicFilters
    let pointer: Int
    let key: Int?
    let deadBand: DeadBand?
    let minInterval: Int64
    let maxSilence: Int64
  }

  private let rules: [Rule]
  private var table: SeriesTable
  /// By place: the last value that passed (NaN: none), when that was, and when one came last.
  private var values: [Double]
  private var passedAt: [Int64]
  private var seenAt: [Int64]
  private var nextReclaim = Int64.min
  /// Of the message at hand: the places of the rules that apply, with their values.
  private var touchedPlaces: [8 of Int] = .init(repeating: 0)
  private var touchedValues: [8 of Double] = .init(repeating: 0)
  /// Messages that passed because there was no place for their series.
  private(set) var untrackedCount: UInt64 = 0

  /// - Parameter pointers: collects the JSON pointers; the rules remember their numbers in it.
  init(
    _ rules: [FieldRule], pointers: inout [JSONPointer], capacity: Int = capacityDefault
  ) throws(JSONPointerError) {
    var own: [Rule] = []
    precondition(rules.count <= 8, "the configuration bounds the rules to fieldsMax")
    for rule in rules {
      pointers.append(try JSONPointer(rule.pointer))
      let pointer = pointers.count - 1
      if let key = rule.key { pointers.append(try JSONPointer(key)) }
      own.append(
        Rule(
          filters: TopicFilters(rule.topics), pointer: pointer,
          key: rule.key == nil ? nil : pointers.count - 1, deadBand: rule.deadBand,
          minInterval: rule.minInterval?.nanoseconds ?? 0,
          maxSilence: rule.maxSilence?.nanoseconds ?? .max))
    }
    self.rules = own
    table = SeriesTable(capacity: capacity)
    values = [Double](repeating: .nan, count: capacity)
    passedAt = [Int64](repeating: 0, count: capacity)
    seenAt = [Int64](repeating: 0, count: capacity)
  }

  var seriesCount: Int { table.places.count }

  /// - Parameter json: has scanned this payload for the pointers.
  /// - Returns: why the message does not pass; nil: it passes.
  mutating func judge(
    topic: Span<UInt8>, payload: Span<UInt8>, json: borrowing JSONScanner, now: MonotonicTime
  ) -> FilterReason? {
    let now = now.nanoseconds
    var touchedCount = 0
    var passes = false
    var reason: FilterReason?
    for index in rules.indices where rules[index].filters.matches(topic) {
      guard let match = json.match(rules[index].pointer) else { continue }
      let value =
        match.kind == .number ? JSONDouble.value(of: payload.extracting(match.token)) : nil
      guard let place = place(index, topic, payload, json, now: now) else {
        untrackedCount += 1
        passes = true
        continue
      }
      seenAt[place] = now
      touchedPlaces[touchedCount] = place
      touchedValues[touchedCount] = value ?? .nan
      touchedCount += 1
      if let objection = objection(rules[index], place, value, now: now) {
        reason = reason ?? objection
      } else {
        passes = true
      }
    }
    if !passes, let reason { return reason }
    for index in 0..<touchedCount {
      values[touchedPlaces[index]] = touchedValues[index]
      passedAt[touchedPlaces[index]] = now
    }
    return nil
  }

  private func objection(
    _ rule: Rule, _ place: Int, _ value: Double?, now: Int64
  ) -> FilterReason? {
    let last = values[place]
    guard let value, !last.isNaN else { return nil }
    let silence = now - passedAt[place]
    if silence >= rule.maxSilence { return nil }
    if let band = rule.deadBand, band.holds(value, around: last) { return .deadBand }
    return silence < rule.minInterval ? .minInterval : nil
  }

  private mutating func place(
    _ rule: Int, _ topic: Span<UInt8>, _ payload: Span<UInt8>, _ json: borrowing JSONScanner,
    now: Int64
  ) -> Int? {
    let key = SeriesTable.key(rules[rule].key, json)
    let hash = table.hash(domain: UInt8(rule), topic: topic, key: payload.extracting(key))
    if let found = table.place(of: hash) { return fresh(found) }
    guard now >= nextReclaim else { return nil }
    nextReclaim = now + Self.reclaimEvery
    let seenAt = self.seenAt
    table.reclaim { seenAt[$0] < now - Self.idle }
    return table.place(of: hash).map { fresh($0) }
  }

  private mutating func fresh(_ found: (place: Int, isNew: Bool)) -> Int {
    if found.isNew { values[found.place] = .nan }
    return found.place
  }
}
