package import GatewayCore
import Platform
import Synchronization

/// Where all stages report, and what health page, systemd status and watchdog are read from.
///
/// Report every stage as `starting` before the services run: readiness waits for all known ones.
/// Any thread; each call is one short lock.
package final class StatusBoard: StatusReporting {
  package static let detailByteCountMax = 512
  /// Three certificates of each of the most brokers, and some.
  package static let notesMax = 64

  struct Stage: Sendable {
    var state: StageState
    var since: MonotonicTime
    var sinceWall: WallTime
    var progressAt: MonotonicTime
  }

  private struct Contents {
    var stages: [StageName: Stage] = [:]
    var notes: [String: String] = [:]
    var listener: (@Sendable () -> Void)?
  }

  private let contents = Mutex(Contents())
  private let monotonic: @Sendable () -> MonotonicTime
  private let wall: @Sendable () -> WallTime
  private let startedAt: MonotonicTime
  private let version: String
  /// An ingest stage without progress for longer than this is stalled.
  package let stallLimit: Duration

  /// `stallLimit`: the watchdog period under systemd, else what the health page should judge by.
  package init(
    version: String, stallLimit: Duration = .seconds(60),
    monotonic: @escaping @Sendable () -> MonotonicTime = { Clock.monotonic() },
    wall: @escaping @Sendable () -> WallTime = { Clock.wall() }
  ) {
    self.version = version
    self.stallLimit = stallLimit
    self.monotonic = monotonic
    self.wall = wall
    startedAt = monotonic()
  }

  package func report(_ stage: StageName, _ state: StageState) {
    let state = StageState(
      state.kind, TextSafety.prefix(state.detail, byteCountMax: Self.detailByteCountMax))
    let now = monotonic()
    let wallNow = wall()
    let listener = contents.withLock { contents -> (@Sendable () -> Void)? in
      if var known = contents.stages[stage] {
        known.progressAt = now
        let kindChanged = known.state.kind != state.kind
        let changed = known.state != state
        known.state = state
        if kindChanged {
          known.since = now
          known.sinceWall = wallNow
        }
        contents.stages[stage] = known
        return changed ? contents.listener : nil
      }
      contents.stages[stage] = Stage(
        state: state, since: now, sinceWall: wallNow, progressAt: now)
      return contents.listener
    }
    listener?()
  }

  package func progress(_ stage: StageName) {
    let now = monotonic()
    contents.withLock { $0.stages[stage]?.progressAt = now }
  }

  /// The route is no more: nothing waits for its stages.
  package func forget(route: String) {
    let listener = contents.withLock { contents in
      contents.stages = contents.stages.filter { $0.key.route != route }
      return contents.listener
    }
    listener?()
  }

  /// Keeps a sentence about `subject` on the health page until another replaces it or nil takes it
  /// away: what a person should look at although nothing is wrong yet. No secrets.
  package func note(_ subject: String, _ text: String?) {
    let text = text.map { TextSafety.prefix($0, byteCountMax: Self.detailByteCountMax) }
    contents.withLock { contents in
      guard contents.notes.count < Self.notesMax || contents.notes[subject] != nil else { return }
      contents.notes[subject] = text
    }
  }

  /// Calls `body` after every change of a state, on the reporting thread: it may only wake
  /// somebody. One listener; a new one replaces it.
  func onChange(_ body: (@Sendable () -> Void)?) {
    contents.withLock { $0.listener = body }
  }

  /// The picture of this moment.
  package func health() -> HealthReport {
    let now = monotonic()
    let (stages, notes) = contents.withLock { ($0.stages, $0.notes) }
    return HealthReport(
      version: version, uptime: now.since(startedAt),
      stages: stages.map { name, stage in
        let idle = now.since(stage.progressAt)
        return HealthReport.Stage(
          name: name, state: stage.state, since: stage.sinceWall,
          inState: now.since(stage.since), sinceProgress: idle,
          isStalled: name.part == .ingest && !stage.state.kind.isOver && idle > stallLimit)
      }.sorted { $0.name.description < $1.name.description },
      notes: notes.sorted { $0.key < $1.key }.map(\.value))
  }
}

extension StageState.Kind {
  /// Its thread has ended in order: there is no progress to expect.
  fileprivate var isOver: Bool { self == .stopped || self == .drained }
}
