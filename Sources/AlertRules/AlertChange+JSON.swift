import GatewayCore
import JSONScanning

extension AlertChange {
  /// Appends the payload of `com.penstock.alert.raised.v1` or `com.penstock.alert.cleared.v1`: one
  /// JSON object.
  ///
  ///     alert     text, the same in both, and no other alert's
  ///     rule      text
  ///     assetId   text
  ///     severity  info, warning or critical
  ///     message   text, for people
  ///     metric    text, where the rule is about one
  ///     value     number, of the reading that decided
  ///     limit     number, in the metric's unit; of a stale pump seconds
  ///     time      RFC 3339: when it became true, in the time of the readings
  package func appendJSON(to bytes: inout [UInt8]) {
    func put(_ field: StaticString, _ value: String) {
      bytes.append(ascii: field)
      JSONString.append(value, to: &bytes)
    }
    func put(_ field: StaticString, _ value: Double?) {
      guard let value, value.isFinite else { return }
      bytes.append(ascii: field)
      bytes.append(utf8: value.description)
    }
    put("{\"alert\":", alert)
    put(",\"rule\":", rule)
    put(",\"assetId\":", asset)
    put(",\"severity\":", severity.rawValue)
    put(",\"message\":", message)
    if let metric { put(",\"metric\":", metric) }
    put(",\"value\":", value)
    put(",\"limit\":", limit)
    bytes.append(ascii: ",\"time\":\"")
    time.appendRFC3339(to: &bytes)
    bytes.append(ascii: "\"}")
  }
}
