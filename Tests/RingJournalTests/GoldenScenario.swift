import GatewayCore
import JournalSimulation
import Platform

@testable import RingJournal

/// What was done to a journal before it became a golden file.
enum GoldenScenario: String, CaseIterable, Sendable {
  /// Two sinks, one ahead of the other; ids in the payload, stored and absent; MQTT properties; a
  /// dead letter; stopped in order.
  case cleanStop = "clean-stop"
  /// The last write was cut short by a power cut.
  case tornTail = "torn-tail"
  /// The ring has turned once.
  case wrapped
  /// Single records, one commit each, in the two alternating blocks of a tail; killed.
  case coalescedTail = "coalesced-tail"
  /// Messages refused by a quota, between others; killed.
  case tombstones

  static let sinks = [JournalSink(name: "central"), JournalSink(name: "local", required: false)]

  /// The layout of the product, in its smallest size.
  static func kit() -> JournalKit {
    var kit = JournalKit(sinks: sinks)
    kit.options.capacity = JournalOptions.capacityMin
    kit.options.commitByteCountMax = .mebibytes(1)
    kit.environment.spacing = JournalLayout.standardSpacing
    return kit
  }

  /// Does it on a fresh disk; the file as the disk then holds it.
  func perform() throws -> [UInt8] {
    let kit = GoldenScenario.kit()
    let opened = try kit.open()
    let state = opened.state
    var writer = opened.takeWriter()
    switch self {
    case .cleanStop: try cleanStop(&writer, state, kit)
    case .tornTail: try tornTail(&writer, kit)
    case .wrapped: try wrapped(&writer, state)
    case .coalescedTail: try coalescedTail(&writer, kit)
    case .tombstones: try tombstones(&writer, kit)
    }
    return kit.disk.bytes(JournalKit.path)
  }

  private func append(
    _ writer: inout JournalWriter, _ kit: JournalKit, _ payload: String, kind: RecordKind = .data,
    reason: DeadLetterReason? = nil, flags: RecordFlags = [.json], id: MessageIDText = .absent,
    idText: String = "", properties: [UInt8] = []
  ) throws {
    let payload = Array(payload.utf8)
    let draft = RecordDraft(
      kind: kind, reason: reason, flags: flags,
      idHash: MessageIDHash(high: 0x0102_0304_0506_0708, low: UInt64(payload.count)),
      payloadDigest: 0x1112_1314_1516_1718, idText: id, receivedMonotonic: kit.clock.monotonic())
    let result = try writer.append(
      draft, topic: Array("pumps/ND01/metrics".utf8).span, idText: Array(idText.utf8).span,
      properties: properties.span, payload: payload.span)
    guard case .appended = result else {
      throw JournalError(.badOptions, "the record did not fit: \(result)")
    }
  }

  private func cleanStop(
    _ writer: inout JournalWriter, _ state: JournalState, _ kit: JournalKit
  ) throws {
    try append(
      &writer, kit, #"{"id":"ND01-17","rpm":3502.5}"#, id: .payload(offset: 7, count: 7))
    var retained: RecordFlags = [.json, .retained]
    retained.qualityOfService = .atLeastOnce
    try append(&writer, kit, #"{"rpm":3500}"#, flags: retained, id: .stored, idText: "user-id-1")
    _ = try writer.commit()
    kit.clock.advance(.seconds(2))
    try append(
      &writer, kit, "no JSON, content type text/plain", flags: [],
      properties: [0x03, 0, 10] + Array("text/plain".utf8))
    try append(
      &writer, kit, #"{"id":"ND01-17","rpm":0}"#, kind: .deadLetter, reason: .conflict,
      id: .payload(offset: 7, count: 7))
    _ = try writer.commit()
    state.acknowledge(0, through: Sequence(3))
    state.acknowledge(1, through: Sequence(1))
    try writer.close()
  }

  private func tornTail(_ writer: inout JournalWriter, _ kit: JournalKit) throws {
    for text in ["first", "second", "third"] {
      // Larger than a block: groups of their own, which are never written again. Zeros in between,
      // so that the file is small in the repository.
      try append(&writer, kit, text + String(repeating: "\0", count: 5000) + "end of " + text)
      _ = try writer.commit()
    }
    // The first block of the last write came to the disk, the second did not.
    kit.disk.damage(JournalKit.path) { bytes in
      let start = (8 << 20) + 5 * Block.byteCount
      for index in start..<start + Block.byteCount { bytes[index] = 0 }
    }
  }

  private func wrapped(_ writer: inout JournalWriter, _ state: JournalState) throws {
    // Zeros, so that the file is small in the repository.
    let payload = [UInt8](repeating: 0, count: 1_000_000)
    for _ in 0..<10 {
      _ = try writer.commit(payload)
      state.acknowledge(0, through: state.committed)
      state.acknowledge(1, through: state.committed)
    }
    _ = try writer.commit(Array("the last one".utf8))
  }

  private func coalescedTail(_ writer: inout JournalWriter, _ kit: JournalKit) throws {
    for number in 1...5 {
      try append(&writer, kit, "record \(number)")
      _ = try writer.commit()
      kit.clock.advance(.seconds(1))
    }
  }

  private func tombstones(_ writer: inout JournalWriter, _ kit: JournalKit) throws {
    try append(&writer, kit, "before")
    for (topic, count) in [("loud/1", 4), ("loud/2", 1)] {
      for _ in 0..<count {
        _ = try writer.appendRefusal(
          topic: Array(topic.utf8).span, received: kit.clock.monotonic())
      }
    }
    try append(&writer, kit, "after")
    _ = try writer.commit()
  }
}

/// What a journal holds, as text.
enum GoldenListing {
  static func of(_ file: [UInt8], at path: String = JournalKit.path) throws -> String {
    let kit = GoldenScenario.kit()
    try kit.disk.put(file, at: path)
    let opened = try kit.open()
    let state = opened.state
    let report = opened.report
    var lines = [
      "committed \(state.committed), oldest kept \(state.oldestKept)",
      "clean stop \(report.wasCleanStop), torn tails \(report.tornTailCount), "
        + "lost \(report.lostRecordCount), repaired \(report.repairedBlockCount)",
    ]
    for (index, sink) in GoldenScenario.sinks.enumerated() {
      lines.append("sink \(sink.name) acknowledged \(state.acknowledged(index))")
    }
    var reader = try state.makeReader(sink: 0)
    reader.seek(to: state.oldestKept)
    reading: while true {
      let outcome = try reader.read { record, bytes in
        lines.append(line(record, bytes))
        return true
      }
      switch outcome {
      case .gap(let gap): lines.append("gap \(gap.range) \(gap.reason.text)")
      case .caughtUp, .stopped: break reading
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func line(_ record: JournalRecord, _ bytes: Span<UInt8>) -> String {
    func text(_ range: Range<Int>) -> String {
      let content = bytes.extracting(range)
      if range.count > 64 {
        return "\(range.count) bytes, CRC-32C \(String(Checksum.crc32c(content), radix: 16))"
      }
      let isText = content.indices.allSatisfy { 0x20..<0x7f ~= content[$0] }
      return isText ? String(decoding: content) : Hexadecimal.text(content)
    }
    if record.kind == .tombstone, let tombstone = Tombstone.decode(bytes, record.payload) {
      return "tombstone \(record.sequences) \(tombstone.reason.text) count \(tombstone.count) "
        + "topic \(text(record.topic))"
    }
    var line = "record \(record.sequences) \(record.kind)"
    if let reason = record.reason { line += " \(reason.text)" }
    line +=
      " flags \(record.flags.rawValue) received \(record.received.nanoseconds / 1_000_000_000)"
    line += " topic \(text(record.topic))"
    if !record.idTextBytes.isEmpty { line += " id \(text(record.idTextBytes))" }
    if !record.properties.isEmpty { line += " properties \(text(record.properties))" }
    line += " hash \(Hexadecimal.text(record.idHash.high))\(Hexadecimal.text(record.idHash.low))"
    return line + " payload \(text(record.payload))"
  }
}
