import GatewayCore
import Glibc
package import Platform
import Synchronization

/// What a peer does: a value that the peer's thread calls, one call at a time. It answers through
/// the link. It may do anything else as well, such as cutting the power: the next byte is read only
/// when it returns.
package protocol MQTTPeerRole: Sendable {
  /// A whole packet has come. CONNECT is the first of each link.
  mutating func received(_ packet: MQTTPacket, on link: MQTTPeerLink)
  /// After each round of reading, and when the owner has changed the role: what is there to send?
  mutating func turn(on link: MQTTPeerLink)
  /// The link has ended; every packet that arrived has been handed over before.
  mutating func ended(_ link: MQTTPeerLink)
}

/// A scripted MQTT broker on a loopback port: one thread, one poll(2) over all links. It does on
/// demand, and in a known order, what a real broker does only by chance. Goes with the owner.
package final class MQTTPeer<Role: MQTTPeerRole>: Sendable {
  package let port: UInt16
  private let shared: Shared<Role>
  private let thread: JoinedThread

  /// - Parameters:
  ///   - address: IPv4, of this machine.
  ///   - port: 0 takes a free one; another listens where an earlier peer did.
  package init(
    _ role: Role, address: String = "127.0.0.1", port: UInt16 = 0
  ) throws(SystemError) {
    let listener = try TCPListener(
      address: address, port: port, queueLength: Int32(PeerLoop<Role>.linkCountMax))
    let shared = Shared(role, listener, try WakeUp())
    self.shared = shared
    self.port = shared.listener.port
    thread = try JoinedThread(name: "mqtt-peer") {
      var loop = PeerLoop(shared: shared)
      loop.run()
    }
  }

  deinit { shared.stop() }

  /// Reads or changes the role between two calls of the peer's thread, which then gets a turn.
  package func withRole<Result: Sendable>(_ body: (inout Role) -> Result) -> Result {
    defer { shared.wakeUp.signal() }
    return shared.state.withLock { body(&$0.role) }
  }

  /// Links that are open now.
  package var linkCount: Int { shared.state.withLock { $0.linkCount } }
  /// Bytes that were no MQTT, in words; a test wants none.
  package var errors: [String] { shared.state.withLock { $0.errors } }

  /// Ends every link now, without a word; `isAbortive` sends RST.
  package func cutAll(isAbortive: Bool = false) {
    shared.state.withLock { $0.cut = isAbortive ? .reset : .close }
    shared.wakeUp.signal()
  }
}

/// What the owner and the thread share.
private final class Shared<Role: MQTTPeerRole>: Sendable {
  struct State: Sendable {
    var role: Role
    var linkCount = 0
    var isStopped = false
    var cut: MQTTPeerLink.Cut?
    var errors: [String] = []
  }

  let state: Mutex<State>
  let listener: TCPListener
  let wakeUp: WakeUp

  init(_ role: Role, _ listener: consuming TCPListener, _ wakeUp: WakeUp) {
    state = Mutex(State(role: role))
    self.listener = listener
    self.wakeUp = wakeUp
  }

  func stop() {
    state.withLock { $0.isStopped = true }
    wakeUp.signal()
  }
}

/// The thread's own state.
private struct PeerLoop<Role: MQTTPeerRole> {
  static var linkCountMax: Int { 256 }

  let shared: Shared<Role>
  var links: [MQTTPeerLink] = []
  var nextNumber = 1

  init(shared: Shared<Role>) { self.shared = shared }

  mutating func run() {
    while true {
      let ready = wait()
      shared.wakeUp.clear()
      let order = shared.state.withLock { state in
        defer { state.cut = nil }
        return (isStopped: state.isStopped, cut: state.cut)
      }
      if order.isStopped { return }
      if let cut = order.cut { for link in links { link.cut(cut) } }
      while links.count < Self.linkCountMax, let descriptor = shared.listener.accept() {
        links.append(MQTTPeerLink(descriptor, number: nextNumber))
        nextNumber += 1
      }
      for link in links {
        if ready.contains(link.raw) { read(link) }
        shared.state.withLock { $0.role.turn(on: link) }
        link.flush()
      }
      endDeadLinks()
    }
  }

  private func read(_ link: MQTTPeerLink) {
    link.read()
    while true {
      do throws(MQTTPacketError) {
        guard let packet = try link.nextPacket() else { return }
        if case .connect(let connect) = packet { takeOver(connect.clientID, by: link) }
        shared.state.withLock { $0.role.received(packet, on: link) }
      } catch {
        let reason = "link \(link.number): \(error)"
        shared.state.withLock { $0.errors.append(reason) }
        return link.cut(.close)
      }
    }
  }

  /// One connection for each client id, the newest (MQTT 5.0, section 3.1.4).
  private func takeOver(_ clientID: String, by newer: MQTTPeerLink) {
    for link in links where link !== newer && link.clientID == clientID { link.cut(.close) }
  }

  private mutating func endDeadLinks() {
    for link in links where !link.isOpen {
      shared.state.withLock { $0.role.ended(link) }
    }
    links.removeAll { !$0.isOpen }
    let count = links.count
    shared.state.withLock { $0.linkCount = count }
  }

  /// The descriptors that have something to read, or room again.
  private func wait() -> Set<Int32> {
    var descriptors = [
      pollfd(fd: shared.wakeUp.pollDescriptor, events: Int16(POLLIN), revents: 0),
      pollfd(fd: shared.listener.descriptor.raw, events: Int16(POLLIN), revents: 0),
    ]
    var milliseconds: Int32 = 1000
    let now = Clock.monotonic()
    for link in links {
      var events = link.wantsWrite ? POLLOUT : 0
      if let rest = link.restsUntil, rest > now {
        milliseconds = min(milliseconds, Int32(rest.since(now).nanoseconds / 1_000_000 + 1))
      } else {
        events |= POLLIN
      }
      descriptors.append(pollfd(fd: link.raw, events: Int16(events), revents: 0))
    }
    _ = unsafe poll(&descriptors, nfds_t(descriptors.count), milliseconds)
    return Set(descriptors.lazy.filter { $0.revents != 0 }.map(\.fd))
  }
}
