import CLinux
import GatewayCore
import Glibc

/// Wakes one thread that waits in `poll` (eventfd(2)). Any thread may signal; signals coalesce: the
/// news is in the shared state, this only says "look".
package final class WakeUp: Sendable {
  private let descriptor: FileDescriptor

  package init() throws(SystemError) {
    let raw = eventfd(0, penstock_eventfd_flags)
    guard raw >= 0 else { throw SystemError("eventfd") }
    descriptor = FileDescriptor(owning: raw)
  }

  /// For `Poll.wait`.
  package var pollDescriptor: Int32 { descriptor.raw }

  /// Any thread, also from a signal-safe context. Never blocks: a full counter is a signal already.
  package func signal() {
    var one: UInt64 = 1
    _ = unsafe write(descriptor.raw, &one, 8)
  }

  /// Forgets the signals so far. The waiting thread, *before* it looks at the shared state.
  package func clear() {
    var count: UInt64 = 0
    _ = unsafe read(descriptor.raw, &count, 8)
  }
}

/// poll(2) over one socket and one wake-up.
package enum Poll {
  package struct Readiness: Sendable {
    /// Data, a hang-up or an error wait on the socket: read it to learn which.
    package var socketReadable = false
    package var socketWritable = false
    package var wokenUp = false
  }

  /// Waits at most `timeout` (rounded up to the next nanosecond-precise ppoll; never busy-loops on
  /// a positive timeout). `socket` nil waits for the wake-up alone. EINTR returns early with
  /// nothing.
  package static func wait(
    socket: Int32?, forWriting: Bool = false, wakeUp: WakeUp, timeout: Duration
  ) -> Readiness {
    var descriptors = (
      pollfd(fd: wakeUp.pollDescriptor, events: Int16(POLLIN), revents: 0),
      pollfd(
        fd: socket ?? -1, events: Int16(forWriting ? POLLIN | POLLOUT : POLLIN), revents: 0)
    )
    let nanoseconds = max(timeout.nanoseconds, 0)
    var limit = timespec(
      tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
    let count = unsafe withUnsafeMutablePointer(to: &descriptors) { pair in
      unsafe pair.withMemoryRebound(to: pollfd.self, capacity: 2) {
        unsafe ppoll($0, 2, &limit, nil)
      }
    }
    guard count > 0 else { return Readiness() }
    let failed = Int16(POLLERR | POLLHUP | POLLNVAL)
    return Readiness(
      socketReadable: descriptors.1.revents & (Int16(POLLIN) | failed) != 0,
      socketWritable: descriptors.1.revents & Int16(POLLOUT) != 0,
      wokenUp: descriptors.0.revents != 0)
  }

  /// One of several sockets that a thread waits for.
  package struct Interest: Sendable {
    package var descriptor: Int32
    package var forReading: Bool
    package var forWriting: Bool
    /// Data, room, a hang-up or an error wait: try it to learn which.
    package fileprivate(set) var isReady = false

    package init(_ descriptor: Int32, forReading: Bool = true, forWriting: Bool = false) {
      self.descriptor = descriptor
      self.forReading = forReading
      self.forWriting = forWriting
    }
  }

  /// As above, over any number of sockets; says in each whether it is ready.
  /// - Returns: whether `wakeUp` was signalled.
  package static func wait(
    _ interests: inout [Interest], wakeUp: WakeUp, timeout: Duration
  ) -> Bool {
    var descriptors = interests.map { interest in
      let events = (interest.forReading ? POLLIN : 0) | (interest.forWriting ? POLLOUT : 0)
      return pollfd(fd: interest.descriptor, events: Int16(events), revents: 0)
    }
    descriptors.append(pollfd(fd: wakeUp.pollDescriptor, events: Int16(POLLIN), revents: 0))
    let nanoseconds = max(timeout.nanoseconds, 0)
    var limit = timespec(
      tv_sec: Int(nanoseconds / 1_000_000_000), tv_nsec: Int(nanoseconds % 1_000_000_000))
    let count = unsafe ppoll(&descriptors, nfds_t(descriptors.count), &limit, nil)
    for index in interests.indices {
      interests[index].isReady = count > 0 && descriptors[index].revents != 0
    }
    return count > 0 && descriptors[interests.count].revents != 0
  }
}
