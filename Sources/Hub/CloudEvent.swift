import GatewayCore
import JSONScanning

/// The hub's events as they are published: CloudEvents 1.0, structured JSON.
///
///     id             <hub id>-<position>
///     source         penstock-hub/<hub id>
///     type           com.penstock.asset.created.v1, …
///     subject        the asset
///     time           when it happened
///     sequence       the position, decimal: grows, not densely, because not all is published
///     streamversion  the version in the asset's stream, decimal
///     publication    counts the published events of this hub, dense from 1, decimal: by it a
///                    follower knows that it has them all
enum CloudEvent {
  static func topic(hub: String, asset: String) -> String {
    "penstock/v1/hub/\(hub)/events/\(asset)"
  }

  static func encode(_ event: HubEvent, hub: String, publication: UInt64) -> [UInt8] {
    var text: [UInt8] = []
    text.reserveCapacity(event.payload.count + 360)
    text.append(ascii: "{\"specversion\":\"1.0\",\"id\":\"")
    text.append(utf8: hub)
    text.append(UInt8(ascii: "-"))
    text.append(decimal: event.position)
    text.append(ascii: "\",\"source\":\"penstock-hub/")
    text.append(utf8: hub)
    text.append(ascii: "\",\"type\":\"")
    text.append(utf8: event.type.name)
    text.append(ascii: "\",\"subject\":")
    JSONString.append(event.asset, to: &text)
    text.append(ascii: ",\"time\":\"")
    event.time.appendRFC3339(to: &text)
    text.append(ascii: "\",\"sequence\":\"")
    text.append(decimal: event.position)
    text.append(ascii: "\",\"streamversion\":\"")
    text.append(decimal: event.version)
    text.append(ascii: "\",\"publication\":\"")
    text.append(decimal: publication)
    text.append(ascii: "\",\"datacontenttype\":\"application/json\",\"data\":")
    text.append(contentsOf: event.payload)
    text.append(UInt8(ascii: "}"))
    return text
  }
}
