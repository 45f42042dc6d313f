import GatewayCore
package import Logging
import Platform
import ServiceLifecycle
import Synchronization

/// Speaks to systemd for the whole process, from what the stages reported to the board:
///
/// - READY=1 once every journal is open, whatever the brokers do: a broker that is down is no
///   reason to restart us;
/// - EXTEND_TIMEOUT_USEC while a journal is being created or recovered and makes progress;
/// - WATCHDOG=1 twice per watchdog period, unless an ingest stage has made no progress for a whole
///   period: then silence, and systemd restarts us within another period;
/// - STATUS= whenever the picture changes;
/// - STOPPING=1 when draining begins.
///
/// Put it first in the `ServiceGroup`: services stop in reverse order, so the watchdog is fed until
/// the last stage has stopped.
package final class WatchdogFeeder: Service {
  /// How often to look where systemd asked for nothing.
  package static let idlePeriod: Duration = .seconds(10)

  private struct Said {
    var ready = false
    var stopping = false
    var stalled = false
    var status = ""
  }

  private let board: StatusBoard
  private let notifier: SystemdNotifier
  private let logger: Logger
  private let said = Mutex(Said())
  private let unheard = Atomic(false)

  /// `board.stallLimit` must be the watchdog period where there is one.
  package init(board: StatusBoard, notifier: SystemdNotifier, logger: Logger) {
    self.board = board
    self.notifier = notifier
    self.logger = logger
  }

  /// Half the watchdog period, as sd_watchdog_enabled(3) recommends.
  package var period: Duration { notifier.watchdogPeriod.map { $0 / 2 } ?? Self.idlePeriod }

  package func run() async throws {
    guard notifier.isActive else {
      try? await gracefulShutdown()
      return
    }
    let (changes, wake) = AsyncStream.makeStream(
      of: Void.self, bufferingPolicy: .bufferingNewest(1))
    board.onChange { wake.yield() }
    defer { board.onChange(nil) }
    await withGracefulShutdownHandler {
      await withDiscardingTaskGroup { group in
        group.addTask { [period] in
          while (try? await Task.sleep(for: period)) != nil { wake.yield() }
        }
        tick()
        for await _ in changes { tick() }
        group.cancelAll()
      }
    } onGracefulShutdown: {
      wake.finish()
    }
    tell { () throws(SystemError) in try notifier.stopping() }
  }

  /// Looks at the board once and says what there is to say. Idempotent; also on every change.
  package func tick() {
    let health = board.health()
    let line = health.line
    let before = said.withLock { $0 }
    var now = before

    // What did not get through counts as not said, and is said by the next look.
    if health.isReady, !before.ready {
      now.ready = tell { () throws(SystemError) in try notifier.ready() }
    }
    let isSlowForAReason = health.isDraining || (health.isRecovering && !now.ready)
    if isSlowForAReason, !health.isStalled {
      tell { () throws(SystemError) in
        try notifier.extendTimeout(by: max(period * 3, .seconds(30)))
      }
    }
    if health.isDraining, !before.stopping {
      now.stopping = tell { () throws(SystemError) in try notifier.stopping() }
    }
    if line != before.status,
      tell({ () throws(SystemError) in try notifier.status(line) })
    {
      now.status = line
    }
    now.stalled = health.isStalled
    if !health.isStalled, notifier.watchdogPeriod != nil {
      tell { () throws(SystemError) in try notifier.watchdog() }
    }
    if now.stalled, !before.stalled {
      logger.critical(
        "an ingest stage makes no progress: the watchdog is not fed any more",
        metadata: ["status": "\(line)", "limit": "\(board.stallLimit)"])
    }
    said.withLock { $0 = now }
  }

  /// Says so once when systemd cannot be reached, not at every tick.
  /// - Returns: whether the word has left.
  @discardableResult
  private func tell(_ send: () throws(SystemError) -> Void) -> Bool {
    do {
      try send()
      unheard.store(false, ordering: .relaxed)
      return true
    } catch {
      if !unheard.exchange(true, ordering: .relaxed) {
        logger.warning(
          "cannot notify systemd: check NotifyAccess= of the unit", metadata: ["error": "\(error)"])
      }
      return false
    }
  }
}
