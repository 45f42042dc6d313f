import GatewayCore
import RingJournal

extension StatisticsReport {
  var object: JSONObject {
    let identity = statistics.identity
    return JSONObject {
      $0.put("journal", identity.id.description)
      $0.put("gateway", identity.gatewayID)
      $0.put("route", identity.routeName)
      $0.put("created", identity.createdAt.description)
      $0.put("format_version", facts.formatVersion)
      $0.put(
        "previous",
        identity.previous.map { previous in
          JSONObject {
            $0.put("journal", previous.id.description)
            $0.put("last", previous.lastSequence.rawValue)
          }
        })
      $0.put("epoch", facts.epoch?.description)
      $0.put("lap", facts.lap)
      $0.put("live", isLive)
      $0.put("clean_stop", facts.isCleanStop)
      $0.put("written", facts.writtenAt?.description)
      $0.put("capacity_bytes", statistics.capacity.rawValue)
      $0.put("undelivered_bytes", statistics.used.rawValue)
      $0.put("kept_bytes", statistics.kept.rawValue)
      $0.put("groups", statistics.groupCount)
      $0.put("oldest_kept", statistics.oldestKept.rawValue)
      $0.put("committed", statistics.committed.rawValue)
      $0.put("oldest_undelivered", statistics.oldestUndelivered?.description)
      $0.put("oldest_undelivered_age_seconds", age?.seconds, digits: 3)
      $0.put("sinks", statistics.sinks.map { object($0) })
      var lost = JSONObject()
      for (reason, count) in losses { lost.put(named: reason.text, count) }
      $0.put("lost", lost)
      $0.put("corrupt_undelivered", statistics.gapRecords[.corrupt] ?? 0)
      $0.put("records_per_second", rates?.records, digits: 3)
      $0.put("ring_bytes_per_second", rates?.ringBytes, digits: 1)
      $0.put("rates_span_seconds", rates?.span.seconds, digits: 1)
      $0.put("time_to_full_seconds", timeToFull?.seconds, digits: 0)
      $0.put("written_bytes", writtenByteCount)
      $0.put("syncs", syncCount)
      $0.put("records", statistics.wear.recordCount)
      $0.put("record_bytes", statistics.wear.recordByteCount)
      $0.put("write_amplification", writeAmplification, digits: 3)
      $0.put("written_bytes_per_day", perDay(writtenByteCount), digits: 0)
      $0.put("syncs_per_day", perDay(syncCount), digits: 0)
      $0.put("sources", sources.ranked.prefix(sourcesMax).map { Self.object($0) })
      $0.put("source_count", sources.counts.count)
      $0.put("torn_tails", facts.tornTailCount)
      $0.put("damaged_control_blocks", facts.damagedBlockCount)
      $0.put("missing_bytes", facts.missingByteCount)
    }
  }

  private func object(_ sink: JournalStatistics.Sink) -> JSONObject {
    let backlog = backlog(sink)
    return JSONObject {
      $0.put("name", sink.name)
      $0.put("required", sink.isRequired)
      $0.put("acknowledged", sink.acknowledged.rawValue)
      $0.put("backlog_records", backlog.records)
      $0.put("backlog_bytes", sinkBacklogBytes[sink.name])
      $0.put(
        "accepted_ahead",
        sink.accepted.map { range in
          JSONObject {
            $0.put("first", range.first.rawValue)
            $0.put("last", range.last.rawValue)
          }
        })
      $0.put("skipped_through", facts.skippedThrough[sink.name]?.rawValue)
      $0.put("acknowledged_per_second", rates?.acknowledged[sink.name], digits: 3)
      $0.put("time_to_drain_seconds", backlog.timeToDrain?.seconds, digits: 0)
    }
  }

  private static func object(_ count: SourceCounts.Count) -> JSONObject {
    JSONObject {
      $0.put("topic", utf8: count.topic.span)
      $0.put("records", count.records)
      $0.put("bytes", count.bytes)
      $0.put("refused", count.refused)
    }
  }
}
