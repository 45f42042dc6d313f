package import GatewayCore
package import Logging
import Platform

/// The log handler of this product: see `LogLine` for what a line looks like. Metadata of the event
/// wins over the provider's, and that over the logger's; keys are sorted.
package struct StandardErrorLogHandler: LogHandler {
  /// The process's, until this logger gets one of its own.
  package var logLevel: Logger.Level {
    get { ownLevel ?? threshold.level }
    set { ownLevel = newValue }
  }
  package var metadata: Logger.Metadata = [:]
  package var metadataProvider: Logger.MetadataProvider?

  private var ownLevel: Logger.Level?
  private let threshold: LogThreshold
  private let label: String
  private let style: LogStyle
  private let output: LogOutput
  private let wall: @Sendable () -> WallTime
  private let recent: RecentProblems?

  /// - Parameter recent: hears of warnings and errors, too.
  package init(
    label: String, threshold: LogThreshold, style: LogStyle, output: LogOutput,
    metadataProvider: Logger.MetadataProvider? = nil, recent: RecentProblems? = nil,
    wall: @escaping @Sendable () -> WallTime = { Clock.wall() }
  ) {
    self.label = label
    self.threshold = threshold
    self.style = style
    self.output = output
    self.metadataProvider = metadataProvider
    self.recent = recent
    self.wall = wall
  }

  package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  package func log(event: LogEvent) {
    var merged = metadata
    if let provided = metadataProvider?.get() { merged.merge(provided) { $1 } }
    if let error = event.error { merged["error"] = "\(error)" }
    if let own = event.metadata { merged.merge(own) { $1 } }
    recent?.note(event.level, event.message.description, merged, time: wall())
    let line = line(event.level, event.message.description, merged)
    output.write(line) { count in
      self.line(.warning, "log lines were left out", ["count": "\(count)"])
    }
  }

  private func line(
    _ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata
  ) -> [UInt8] {
    LogLine.bytes(
      level: level, label: label, message: message,
      metadata: metadata.map { ($0.key, $0.value.description) }.sorted { $0.0 < $1.0 },
      time: wall(), style: style)
  }
}
