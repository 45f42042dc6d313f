package import GatewayCore
import JSONScanning

/// The last value of one metric.
package struct Reading: Sendable, Hashable {
  package var name: String
  package var value: Double

  package init(name: String, value: Double) {
    self.name = name
    self.value = value
  }
}

/// Where the newest reading of an asset came from: readings never go back behind it.
package struct ReadingOrigin: Sendable, Hashable {
  package var inbox: Int64
  package var sequence: Sequence

  package init(inbox: Int64, sequence: Sequence) {
    self.inbox = inbox
    self.sequence = sequence
  }
}

/// What the hub knows of one asset: a fold of its events, and nothing else.
package struct AssetState: Sendable, Hashable {
  /// Number in the store.
  package let number: Int64
  /// The business key; never changes.
  package let id: String
  /// Of its last event.
  package var version: UInt64 = 0
  /// Position of its last event.
  package var position: UInt64 = 0
  /// Seen in telemetry only, until its creation comes.
  package var isRegistered = false
  package var isRetired = false
  /// As `AssetFacts.json`; empty until registered.
  package var facts: [UInt8] = []
  /// In the order in which they first came.
  package var readings: [Reading] = []
  package var readingOrigin: ReadingOrigin?
  /// When the newest reading was received. No part of equality.
  package var readingTime: WallTime?
  /// Sorted by rule.
  package var standing: [StandingAlert] = []
  /// `requested`, `scheduled`, `stopping`, `stopped`; nil when no case runs.
  package var maintenance: String?

  package init(number: Int64, id: String) {
    self.number = number
    self.id = id
  }
}

/// An alert that was raised and not cleared.
package struct StandingAlert: Sendable, Hashable {
  package var rule: String
  /// `info`, `warning` or `critical`; other words of newer versions count as a warning.
  package var severity: String

  package init(rule: String, severity: String) {
    self.rule = rule
    self.severity = severity
  }
}

/// How much an asset needs somebody, from what is known of it.
package enum AssetRisk: String, Sendable, Hashable, CaseIterable {
  /// Retired, or measured and without an alert.
  case none
  /// Nothing has been measured lately, or an alert for information stands.
  case low
  /// A warning stands, or a maintenance case runs.
  case medium
  /// A critical alert stands.
  case high
}

/// What a person asks first about an asset.
package enum AssetStatus: String, Sendable, Hashable, CaseIterable {
  case online
  /// No reading for longer than `stale_after`.
  case stale
  /// At least one alert stands.
  case alarm
  case retired
  /// Registered, and nothing measured yet.
  case silent
}

extension AssetState {
  /// Depends on the clock, so it is not stored.
  package func status(now: WallTime, staleAfter: Duration) -> AssetStatus {
    if isRetired { return .retired }
    if !standing.isEmpty { return .alarm }
    guard let readingTime else { return .silent }
    return now.nanoseconds - readingTime.nanoseconds > staleAfter.nanoseconds ? .stale : .online
  }

  /// Rules whose alert stands, sorted.
  package var alerts: [String] { standing.map(\.rule) }

  /// Depends on the clock, so it is not stored.
  package func risk(now: WallTime, staleAfter: Duration) -> AssetRisk {
    if isRetired { return .none }
    if standing.contains(where: { $0.severity == "critical" }) { return .high }
    if maintenance != nil || standing.contains(where: { $0.severity != "info" }) { return .medium }
    let isMeasured = status(now: now, staleAfter: staleAfter) == .online
    return isMeasured ? .none : .low
  }

  /// Folds one event in.
  /// - Parameter isNewer: whether a reading from the first origin may replace one from the second.
  package mutating func apply(
    _ event: HubEvent, isNewer: (EventOrigin, ReadingOrigin) -> Bool
  ) {
    version = event.version
    position = event.position
    switch event.type {
    case .assetCreated, .assetChanged, .assetRetired:
      // Each has all facts, so that a follower may miss the ones before.
      isRegistered = true
      facts = event.payload
      if event.type == .assetRetired { isRetired = true }
    case .assetConflict, .commandConfirmed: break
    case .metricRecorded:
      if let origin = event.origin, let readingOrigin, !isNewer(origin, readingOrigin) { return }
      readings.merge(event.payload)
      readingOrigin = event.origin.map {
        ReadingOrigin(inbox: $0.inbox, sequence: $0.sequence)
      }
      readingTime = event.time
    case .alertRaised:
      let alert = StandingAlert(
        rule: Payload.text("rule", in: event.payload) ?? "",
        severity: Payload.text("severity", in: event.payload) ?? "")
      standing.removeAll { $0.rule == alert.rule }
      standing.insert(
        alert, at: standing.firstIndex { $0.rule > alert.rule } ?? standing.endIndex)
    case .alertCleared:
      let rule = Payload.text("rule", in: event.payload) ?? ""
      standing.removeAll { $0.rule == rule }
    case .maintenanceRequested: maintenance = "requested"
    case .maintenanceScheduled: maintenance = "scheduled"
    case .maintenanceStopping: maintenance = "stopping"
    case .maintenanceStopped: maintenance = "stopped"
    case .maintenanceDone, .maintenanceCancelled: maintenance = nil
    }
  }
}

extension [Reading] {
  /// Numbers per asset that are kept; what goes beyond is not remembered.
  package static let countMax = 64

  /// Takes over every number of the outermost object. A device says the same names in the same
  /// order each time, so the next name is looked for where the last one left off; allocates
  /// nothing then.
  mutating func merge(_ payload: [UInt8]) {
    let bytes = payload.span
    var reader = JSONReader()
    var next = 0
    do {
      try reader.beginObject(in: bytes)
      while let name = try reader.nextName(in: bytes) {
        let value = try reader.readValue(in: bytes)
        guard value.kind == .number,
          let number = JSONDouble.value(of: bytes.extracting(value.token))
        else { continue }
        let text = bytes.extracting(name.content)
        if next < count, text.reads(self[next].name) {
          self[next].value = number
          next += 1
        } else if let index = firstIndex(where: { text.reads($0.name) }) {
          self[index].value = number
          next = index + 1
        } else if count < Self.countMax {
          append(Reading(name: Payload.text(of: name, in: bytes), value: number))
          next = count
        }
      }
    } catch {
      // What is no object has no readings.
    }
  }
}

// MARK: - Text

extension AssetState {
  /// Readings as a JSON object, in their order.
  package var readingsJSON: [UInt8] {
    var text: [UInt8] = [UInt8(ascii: "{")]
    for (index, reading) in readings.enumerated() {
      if index > 0 { text.append(UInt8(ascii: ",")) }
      JSONString.append(reading.name, to: &text)
      text.append(UInt8(ascii: ":"))
      text.append(utf8: reading.value.description)
    }
    text.append(UInt8(ascii: "}"))
    return text
  }

  /// Reads what `readingsJSON` wrote.
  package mutating func setReadings(json: [UInt8]) {
    readings = []
    readings.merge(json)
  }

  /// Alerts as lines: rule, space, severity.
  package var alertsText: String {
    standing.map { "\($0.rule) \($0.severity)" }.joined(separator: "\n")
  }

  package mutating func setAlerts(text: String) {
    standing = text.split(separator: "\n").map { line in
      let end = line.lastIndex(of: " ") ?? line.endIndex
      return StandingAlert(
        rule: String(line[..<end]), severity: String(line[end...].dropFirst()))
    }
  }
}

/// 128 bits over states (FNV-1a, 128 bits): equal states have equal hashes; differences by accident
/// go unnoticed once in 10^38. No protection against anybody.
package struct StateHash: Sendable, Hashable, CustomStringConvertible {
  private var value: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d
  private static let prime: UInt128 = 0x0000_0000_0100_0000_0000_0000_0000_013b

  package init() {}

  private mutating func add(_ byte: UInt8) {
    value = (value ^ UInt128(byte)) &* Self.prime
  }

  private mutating func add(_ number: UInt64) {
    for shift in stride(from: 0, to: 64, by: 8) { add(UInt8(truncatingIfNeeded: number >> shift)) }
  }

  private mutating func add(_ bytes: some Collection<UInt8>) {
    add(UInt64(bytes.count))
    for byte in bytes { add(byte) }
  }

  /// Everything but times, which may be corrected when an event is sent again.
  package mutating func add(_ state: AssetState) {
    add(state.id.utf8)
    add(state.version)
    add(state.position)
    add(UInt8(state.isRegistered ? 1 : 0))
    add(UInt8(state.isRetired ? 1 : 0))
    add(state.facts)
    add(UInt64(state.readings.count))
    for reading in state.readings {
      add(reading.name.utf8)
      add(reading.value.bitPattern)
    }
    add(UInt64(bitPattern: state.readingOrigin?.inbox ?? -1))
    add(state.readingOrigin?.sequence.rawValue ?? 0)
    add(state.alertsText.utf8)
    add((state.maintenance ?? "").utf8)
  }

  package var description: String {
    Hexadecimal.text(UInt64(truncatingIfNeeded: value >> 64))
      + Hexadecimal.text(UInt64(truncatingIfNeeded: value))
  }
}
