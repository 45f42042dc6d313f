import Logging
import Synchronization

/// What was logged.
final class LogLines: Sendable {
  struct Line: Sendable {
    let level: Logger.Level
    let text: String
  }

  private let lines = Mutex<[Line]>([])
  var all: [Line] { lines.withLock { $0 } }
  func add(_ line: Line) { lines.withLock { $0.append(line) } }
}

struct LogRecorder: LogHandler {
  private let lines: LogLines
  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level = .trace

  init(_ lines: LogLines) { self.lines = lines }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let all = metadata.merging(event.metadata ?? [:]) { $1 }
    lines.add(.init(level: event.level, text: "\(event.message) \(all)"))
  }
}
