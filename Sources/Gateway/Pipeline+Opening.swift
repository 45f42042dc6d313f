import Ingest
import ServiceLifecycle
import Synchronization

extension Pipeline {
  /// The time in which the ingest thread opens the journal and nobody else has anything of it yet:
  /// what a shutdown or the failure of another route has to say to it.
  final class Opening: Sendable {
    private struct Contents {
      var isCancelled = false
      var isAbandoned = false
      var control: IngestControl?
    }

    private let contents = Mutex(Contents())

    /// Whether a creation is to be cut short.
    var isCancelled: Bool { contents.withLock { $0.isCancelled } }

    /// The one announcement; nil when it does not come, or when nobody waits for it any more.
    func first(of announcements: AsyncStream<Opened>) async -> Opened? {
      let opened = await withGracefulShutdownHandler {
        await announcements.first { _ in true }
      } onGracefulShutdown: {
        self.contents.withLock { $0.isCancelled = true }
      }
      if opened == nil { abandon() }
      return opened
    }

    /// The thread has what it is steered by.
    func register(_ control: IngestControl) {
      let isAbandoned = contents.withLock { contents in
        contents.control = control
        return contents.isAbandoned
      }
      if isAbandoned { control.advance(to: .close) }
    }

    /// A cancelled task gets no announcement: the thread must not wait for somebody to steer it.
    private func abandon() {
      let control = contents.withLock { contents in
        contents.isCancelled = true
        contents.isAbandoned = true
        return contents.control
      }
      control?.advance(to: .close)
    }
  }
}
