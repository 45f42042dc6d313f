import GatewayCore

// The JSON form of a status: the documented contract of `penstock status --json`. See
// `Control.docc/Status.md` for the meaning of each name; a test holds both together.
//
// Times are RFC 3339 for people and nanoseconds since 1970 in `…_ns` for programs. Durations are
// seconds.

extension GatewayStatus {
  package var json: JSONValue { JSONValue.object { put(into: &$0) } }

  package func put(into object: inout JSONMembers) {
    object.put("format", Self.format)
    object.put("source", source.rawValue)
    object.put("version", version)
    object.put("gateway", gatewayID)
    object.put("time", time.description)
    object.put("time_ns", time.nanoseconds)
    object.put("uptime_seconds", uptime)
    object.put("pid", processID)
    object.put("configuration", configurationPath)
    object.put("health", health)
    object.put("routes", routes.map(\.json))
    object.put("certificates", certificates.map(\.json))
    object.put("problems", problems.map(\.json))
  }

  /// Nil when that is no status of a version that we know.
  package init?(_ json: JSONValue) {
    guard json["format"]?.uint64 == UInt64(Self.format),
      let source = json["source"]?.string.flatMap(Source.init),
      let version = json["version"]?.string,
      let gatewayID = json["gateway"]?.string, let time = WallTime(json["time_ns"])
    else { return nil }
    self.init(source: source, version: version, gatewayID: gatewayID, time: time)
    uptime = Duration(json["uptime_seconds"])
    processID = json["pid"]?.uint64
    configurationPath = json["configuration"]?.string
    health = json["health"]?.string
    for route in json["routes"]?.elements ?? [] {
      guard let route = RouteStatus(route) else { return nil }
      routes.append(route)
    }
    certificates = (json["certificates"]?.elements ?? []).compactMap { CertificateStatus($0) }
    problems = (json["problems"]?.elements ?? []).compactMap { ProblemStatus($0) }
  }
}

extension RouteStatus {
  var json: JSONValue {
    JSONValue.object { object in
      object.put("name", name)
      object.put("phase", phase.rawValue)
      object.put("problem", problem)
      object.put("ingest", ingest?.json)
      object.put("received", receivedCount)
      object.put("duplicates", duplicateCount)
      object.put("syncs", syncs?.count)
      object.put("syncs_seconds", syncs?.total)
      object.put("pubacks", pubackDelays?.count)
      object.put("pubacks_seconds", pubackDelays?.total)
      object.put("journal", journal?.json)
      object.put("sinks", sinks.map(\.json))
    }
  }

  init?(_ json: JSONValue) {
    guard let name = json["name"]?.string, let phase = json["phase"]?.string.flatMap(Phase.init)
    else { return nil }
    self.init(name: name, phase: phase)
    problem = json["problem"]?.string
    ingest = json["ingest"].flatMap { StageReading($0) }
    receivedCount = json["received"]?.uint64
    duplicateCount = json["duplicates"]?.uint64
    syncs = DurationTotal(json["syncs"], json["syncs_seconds"])
    pubackDelays = DurationTotal(json["pubacks"], json["pubacks_seconds"])
    journal = json["journal"].flatMap { JournalStatus($0) }
    sinks = (json["sinks"]?.elements ?? []).compactMap { SinkStatus($0) }
  }
}

extension StageReading {
  var json: JSONValue {
    JSONValue.object { object in
      object.put("state", state)
      object.put("detail", detail)
      object.put("since", since.description)
      object.put("since_ns", since.nanoseconds)
      object.put("in_state_seconds", inState)
      object.put("stalled", isStalled)
    }
  }

  init?(_ json: JSONValue) {
    guard let state = json["state"]?.string, let since = WallTime(json["since_ns"]) else {
      return nil
    }
    self.init(
      state: state, detail: json["detail"]?.string ?? "", since: since,
      inState: Duration(json["in_state_seconds"]) ?? .zero,
      isStalled: json["stalled"]?.bool ?? false)
  }
}

extension JournalStatus {
  var json: JSONValue {
    JSONValue.object { object in
      object.put("id", id)
      object.put("epoch", epoch)
      object.put("capacity_bytes", capacity.rawValue)
      object.put("used_bytes", used.rawValue)
      object.put("committed", committed.rawValue)
      object.put("oldest_kept", oldestKept.rawValue)
      object.put("lost", lost)
      object.put("records_per_second", recordsPerSecond)
      object.put("time_to_full_seconds", timeToFull)
      object.put("sync_seconds", syncTime)
      object.put("puback_delay_seconds", pubackDelay)
      object.put("clean_stop", isCleanStop)
    }
  }

  init?(_ json: JSONValue) {
    guard let id = json["id"]?.string, let epoch = json["epoch"]?.string,
      let capacity = json["capacity_bytes"]?.uint64, let used = json["used_bytes"]?.uint64,
      let committed = json["committed"]?.uint64, let oldestKept = json["oldest_kept"]?.uint64
    else { return nil }
    self.init(
      id: id, epoch: epoch, capacity: ByteCount(Int(clamping: capacity)),
      used: ByteCount(Int(clamping: used)), committed: Sequence(committed),
      oldestKept: Sequence(oldestKept))
    lost = json.counts("lost")
    recordsPerSecond = json["records_per_second"]?.double
    timeToFull = Duration(json["time_to_full_seconds"])
    syncTime = Duration(json["sync_seconds"])
    pubackDelay = Duration(json["puback_delay_seconds"])
    isCleanStop = json["clean_stop"]?.bool
  }
}

extension SinkStatus {
  var json: JSONValue {
    JSONValue.object { object in
      object.put("name", name)
      object.put("required", isRequired)
      object.put("stage", stage?.json)
      object.put("acknowledged", acknowledged.rawValue)
      object.put("outstanding", outstanding)
      object.put("backlog_bytes", backlog?.rawValue)
      object.put("oldest_age_seconds", oldestAge)
      object.put("records_per_second", recordsPerSecond)
      object.put("time_to_drain_seconds", timeToDrain)
      object.put("falling_behind", isFallingBehind)
      object.put("in_flight_batches", inFlightCount)
      object.put("reconnects", reconnectCount)
      object.put("dead_letters", deadLetterCount)
      object.put("gaps", gaps)
    }
  }

  init?(_ json: JSONValue) {
    guard let name = json["name"]?.string, let isRequired = json["required"]?.bool,
      let acknowledged = json["acknowledged"]?.uint64,
      let outstanding = json["outstanding"]?.uint64
    else { return nil }
    self.init(
      name: name, isRequired: isRequired, acknowledged: Sequence(acknowledged),
      outstanding: outstanding)
    stage = json["stage"].flatMap { StageReading($0) }
    backlog = json["backlog_bytes"]?.uint64.map { ByteCount(Int(clamping: $0)) }
    oldestAge = Duration(json["oldest_age_seconds"])
    recordsPerSecond = json["records_per_second"]?.double
    timeToDrain = Duration(json["time_to_drain_seconds"])
    isFallingBehind = json["falling_behind"]?.bool
    inFlightCount = json["in_flight_batches"]?.uint64
    reconnectCount = json["reconnects"]?.uint64
    deadLetterCount = json["dead_letters"]?.uint64
    gaps = json.counts("gaps")
  }
}

extension CertificateStatus {
  var json: JSONValue {
    JSONValue.object { object in
      object.put("path", path)
      object.put("not_after", notAfter?.description)
      object.put("not_after_ns", notAfter?.nanoseconds)
      object.put("warning", warning)
    }
  }

  init?(_ json: JSONValue) {
    guard let path = json["path"]?.string, let warning = json["warning"]?.string else {
      return nil
    }
    self.init(path: path, notAfter: WallTime(json["not_after_ns"]), warning: warning)
  }
}

extension ProblemStatus {
  var json: JSONValue {
    JSONValue.object { object in
      object.put("time", time.description)
      object.put("time_ns", time.nanoseconds)
      object.put("level", level)
      object.put("message", message)
      object.put("detail", detail)
    }
  }

  init?(_ json: JSONValue) {
    guard let time = WallTime(json["time_ns"]), let level = json["level"]?.string,
      let message = json["message"]?.string
    else { return nil }
    self.init(time: time, level: level, message: message, detail: json["detail"]?.string ?? "")
  }
}

extension JSONValue {
  fileprivate func counts(_ name: String) -> [String: UInt64] {
    guard case .object(let members)? = self[name] else { return [:] }
    return Dictionary(
      members.compactMap { member in member.value.uint64.map { (member.name, $0) } },
      uniquingKeysWith: { first, _ in first })
  }
}

extension WallTime {
  fileprivate init?(_ json: JSONValue?) {
    guard case .number(let text)? = json, let value = Int64(text) else { return nil }
    self.init(nanoseconds: value)
  }
}

extension Duration {
  fileprivate init?(_ json: JSONValue?) {
    guard let seconds = json?.double, seconds.magnitude < 1e12 else { return nil }
    self = .microseconds(Int64((seconds * 1e6).rounded()))
  }
}

extension DurationTotal {
  fileprivate init?(_ count: JSONValue?, _ seconds: JSONValue?) {
    guard let count = count?.uint64, let total = Duration(seconds) else { return nil }
    self.init(count: count, total: total)
  }
}
