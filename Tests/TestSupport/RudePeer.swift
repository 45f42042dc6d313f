import Glibc
package import Platform
import Synchronization

/// Something on a loopback port that speaks no protocol: it accepts every connection, keeps the
/// first bytes of each, and then is silent or goes. Goes with the owner.
package final class RudePeer: Sendable {
  package enum Manner: Sendable {
    /// Reads on and says nothing.
    case silent
    /// Closes as soon as it has read something.
    case closing
  }

  package static let openingByteCountMax = 64

  package let port: UInt16
  private let shared: Shared
  private let thread: JoinedThread

  package init(_ manner: Manner) throws(SystemError) {
    let shared = Shared(try TCPListener(), try WakeUp())
    self.shared = shared
    port = shared.listener.port
    thread = try JoinedThread(name: "rude-peer") { Self.serve(shared, manner) }
  }

  deinit {
    shared.isStopped.store(true, ordering: .releasing)
    shared.wakeUp.signal()
  }

  /// What each connection began with.
  package var openings: [[UInt8]] { shared.openings.withLock { $0 } }

  private final class Shared: Sendable {
    let listener: TCPListener
    let wakeUp: WakeUp
    let isStopped = Atomic<Bool>(false)
    let openings = Mutex<[[UInt8]]>([])

    init(_ listener: consuming TCPListener, _ wakeUp: WakeUp) {
      self.listener = listener
      self.wakeUp = wakeUp
    }
  }

  private final class Link {
    let descriptor: FileDescriptor
    let index: Int
    var isOpen = true

    init(_ descriptor: consuming FileDescriptor, index: Int) {
      self.descriptor = descriptor
      self.index = index
    }
  }

  private static func serve(_ shared: Shared, _ manner: Manner) {
    var links: [Link] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while !shared.isStopped.load(ordering: .acquiring) {
      var entries = [
        pollfd(fd: shared.wakeUp.pollDescriptor, events: Int16(POLLIN), revents: 0),
        pollfd(fd: shared.listener.descriptor.raw, events: Int16(POLLIN), revents: 0),
      ]
      entries += links.map { pollfd(fd: $0.descriptor.raw, events: Int16(POLLIN), revents: 0) }
      _ = unsafe poll(&entries, nfds_t(entries.count), 1000)
      while let descriptor = shared.listener.accept() {
        links.append(
          Link(
            descriptor,
            index: shared.openings.withLock {
              $0.append([]); return $0.count - 1
            }))
      }
      for link in links {
        let count = unsafe recv(link.descriptor.raw, &chunk, chunk.count, 0)
        if count < 0 && errno == EAGAIN { continue }
        link.isOpen = count > 0 && manner == .silent
        shared.openings.withLock { openings in
          let room = openingByteCountMax - openings[link.index].count
          openings[link.index] += chunk.prefix(max(0, min(count, room)))
        }
      }
      links.removeAll { !$0.isOpen }
    }
  }
}
