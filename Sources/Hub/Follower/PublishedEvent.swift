import Envelope
import GatewayCore
import JSONScanning

/// An event as a follower receives it: what `CloudEvent` wrote.
package struct PublishedEvent: Sendable, Hashable {
  package var hub: String
  /// Dense per hub.
  package var publication: UInt64
  package var event: HubEvent

  /// Nil for what no hub publishes, or a type that this version does not know.
  package init?(_ text: [UInt8]) {
    guard Payload.isObject(text), let source = Payload.text("source", in: text),
      source.hasPrefix("penstock-hub/"), let name = Payload.text("type", in: text),
      name.hasPrefix(EventType.prefix), let type = EventType(name: name),
      let subject = Payload.text("subject", in: text),
      let time = Payload.text("time", in: text).flatMap({
        WallTime(rfc3339: Array($0.utf8).span)
      }),
      let position = Payload.text("sequence", in: text).flatMap({ UInt64($0) }),
      let version = Payload.text("streamversion", in: text).flatMap({ UInt64($0) }),
      let publication = Payload.text("publication", in: text).flatMap({ UInt64($0) }),
      publication > 0, publication < .max, let data = Payload.value("data", in: text)
    else { return nil }
    hub = String(source.dropFirst("penstock-hub/".count))
    self.publication = publication
    event = HubEvent(
      position: position, asset: subject, version: version, previous: 0, type: type, time: time,
      origin: nil, source: 0, messageID: Payload.text("id", in: text) ?? "", payload: data)
  }
}
