import GatewayConfiguration
import GatewayCore
import Ingest
import Platform
import RingJournal
import Upstream

extension Pipeline {
  /// How often to look, and how long the session must have brought nothing to count as empty.
  private static let retiringTurn: Duration = .milliseconds(250)
  private static let retiringQuiet: Duration = .seconds(2)

  /// Waits until a removed route has nothing left: its session at the broker is unsubscribed and
  /// has brought nothing for a while, and every required destination has everything. Then ends it.
  /// A broker that is away keeps it waiting; so does a shutdown, which ends it in its own way.
  func endWhenEmpty(_ opened: Opened) async {
    let journal = opened.journal
    var last = journal.committed
    var quietSince: MonotonicTime?
    while (try? await Task.sleep(for: Self.retiringTurn)) != nil, opened.control.phase == .run {
      let now = Clock.monotonic()
      guard opened.control.isLive, journal.committed == last else {
        last = journal.committed
        quietSince = nil
        continue
      }
      let since = quietSince ?? now
      quietSince = since
      let hasRequired = route.sinks.contains(where: \.required)
      let isDelivered = route.sinks.enumerated().allSatisfy { index, sink in
        (hasRequired && !sink.required) || journal.acknowledged(index) >= last
      }
      guard isDelivered, now.since(since) >= Self.retiringQuiet else { continue }
      opened.control.advance(to: .quiesce)
      return
    }
  }
}
