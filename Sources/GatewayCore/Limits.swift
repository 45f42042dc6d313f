/// Limits that more than one module relies on. Each other limit lives with the code it bounds.
package enum Limits {
  /// Sinks per route: one durable cursor each, in every commit group's header.
  package static let sinksPerRouteMax = 8
  /// Bytes of a sink's name.
  package static let sinkNameByteCountMax = 32
  /// Bytes of an MQTT topic (MQTT 5.0, section 1.5.4: a two-byte length).
  package static let topicByteCountMax = 65_535
  /// Bytes of a gateway's id and of a route's name.
  package static let identifierByteCountMax = 64
}

/// Names in the data directory that belong to no route. Without a dot: `<route>.` begins the names
/// of a route.
package enum DataDirectory {
  /// How commands reach the running agent.
  package static let controlSocketName = "control-socket"
}

/// Exit codes of the commands, documented and stable (sysexits.h).
package enum ExitCode: Int32, Sendable {
  case success = 0
  /// EX_USAGE.
  case usage = 64
  /// EX_DATAERR: a file is not a journal, or too damaged to be used as one.
  case data = 65
  /// EX_UNAVAILABLE: a broker is unavailable or refuses. One-shot commands only.
  case unavailable = 69
  /// EX_SOFTWARE: a bug of ours.
  case bug = 70
  /// EX_IOERR: the journal is poisoned, the disk failed.
  case disk = 74
  /// EX_TEMPFAIL: another process has the journal open.
  case busy = 75
  /// EX_CONFIG.
  case configuration = 78
  /// `run` under systemd: a command told it to stop, and the unit leaves it stopped.
  case toldToStop = 79
}
