import GatewayCore
import Mosquitto
import Observability

extension HubSettings {
  /// Every value in force of the sections that are read here, secrets masked; `parse` reads it back
  /// to these settings.
  package var effectiveText: String {
    var writer = YAMLWriter()
    writer.section("hub") { section in
      section.line("id", hubID)
      section.line("database", quoting: database)
      if let file = databasePasswordFile {
        section.line("database_password_file", quoting: file)
      }
    }
    writer.section("broker") { EffectiveConfiguration.writeConnection(broker, &$0) }
    writer.section("consume") { section in
      section.list("subscribe", quoting: filters, alwaysList: true)
      section.line("shared_group", sharedGroup ?? "none")
      section.line("max_envelope", "\(envelopeByteCountMax)")
      section.line("batches_per_commit", "\(groupBatchesMax)")
      section.line("bytes_per_commit", "\(groupByteCountMax)")
    }
    writer.section("assets") { section in
      section.line("topic_prefix", topicPrefix)
      section.line("contiguity_wait", Quantity.text(contiguityWait))
      section.line("stale_after", Quantity.text(staleAfter))
    }
    writer.section("events") { section in
      section.line("publish_metrics", publishesMetrics)
      section.line("remembered_ids", "\(identityCount)")
      section.line("snapshot_every", snapshotEvery.map(String.init) ?? "none")
    }
    writer.section("retention") { section in
      section.line("readings", readingsKept.map(Quantity.text) ?? "none")
      section.line("downsample", downsampleInterval.map(Quantity.text) ?? "none")
    }
    writer.section("outbox") { section in
      section.line("max_rows", "\(outboxRowsMax)")
      section.line("max_in_flight", "\(outboxInFlightMax)")
      section.line("reader", outboxReader.rawValue)
    }
    EffectiveConfiguration.write(observability, logging, &writer)
    return writer.text
  }
}
