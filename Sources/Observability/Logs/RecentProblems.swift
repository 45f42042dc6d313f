package import GatewayCore
import Logging
import Synchronization

/// The newest log lines of level warning and above, for a status that says what went wrong of late.
/// Equal messages from one route or destination are kept once, with the newest time and text, so
/// that one trouble that comes again and again does not hide the others. Any thread.
package final class RecentProblems: Sendable {
  package static let countMax = 16
  package static let detailByteCountMax = 512

  package struct Problem: Sendable, Hashable {
    package var time: WallTime
    package var level: String
    package var message: String
    /// The metadata, as `key=value` pairs.
    package var detail: String
    /// Whose it is: messages of others are other problems.
    fileprivate var origin: String
  }

  private let problems = Mutex<[Problem]>([])

  package init() {}

  /// The oldest first.
  package var newest: [Problem] { problems.withLock { $0 } }

  func note(
    _ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata, time: WallTime
  ) {
    guard level >= .warning else { return }
    let pairs = metadata.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
    let problem = Problem(
      time: time, level: level.rawValue, message: message,
      detail: TextSafety.prefix(
        pairs.joined(separator: " "), byteCountMax: Self.detailByteCountMax),
      origin: ["route", "sink"].map { "\(metadata[$0] ?? "")" }.joined(separator: "/"))
    problems.withLock { problems in
      problems.removeAll { $0.message == message && $0.origin == problem.origin }
      if problems.count == Self.countMax { problems.removeFirst() }
      problems.append(problem)
    }
  }
}
