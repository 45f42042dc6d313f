// The events of simulated pumps, as plain JSON.
//
//   topic pumps/<asset id>/metrics, one object of about 200 bytes:
//     messageId       text, see below
//     assetId         text, ND01, ND02, … (more digits from ND100 on)
//     timestamp       text, RFC 3339 in UTC with milliseconds: when the pump measured
//     the six metrics numbers, see Metric for fields and units
//
//   topic pumps/<asset id>/asset, sent once when a pump is installed:
//     messageId, assetId
//     type             text, the kind of asset
//     operatingSystem  text, of the pump's controller
//     version          text, of the controller's firmware
//     ipAddress        text, of the controller, in 10.0.0.0/8
//     location         object: site (text), latitude and longitude (degrees, WGS 84)
//     creationDate     text, RFC 3339: when the asset was put into service
//
// A message id is `<run>-<asset id>-<counter>`: the counter has at least six digits, starts at 1,
// grows by 1 with each event of the pump, and is shared by its topics. The run is what keeps two
// runs of the simulator apart: the ids of one run never come back in another, unless one asks for
// the same run. Without a run the id is `<asset id>-<counter>`.

package import GatewayCore

/// The kinds of events a pump sends.
package enum PumpEventKind: UInt8, Sendable, CaseIterable {
  case asset
  case metrics
}

/// Keeps the message ids of one run of the simulator apart from those of every other.
package struct RunID: Hashable, Sendable, CustomStringConvertible {
  package static let byteCountMax = 16
  package let description: String

  /// Letters, digits and underscores, 1 ... `byteCountMax`; nil for anything else.
  package init?(_ text: String) {
    let isName = text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
        true
      default: false
      }
    }
    guard isName, (1...RunID.byteCountMax).contains(text.utf8.count) else { return nil }
    description = text
  }

  /// Eight letters and digits at random: one in 2.8 million million for two runs to meet.
  package static func random() -> RunID {
    var generator = SystemRandomNumberGenerator()
    let letters = Array("abcdefghijklmnopqrstuvwxyz0123456789".unicodeScalars)
    var text = String.UnicodeScalarView()
    for _ in 0..<8 {
      text.append(letters[Int.random(in: letters.indices, using: &generator)])
    }
    return RunID(unchecked: String(text))
  }

  private init(unchecked text: String) { description = text }
}

/// A number of pumps that tell the same story for the same seed, pump by pump: what one pump sends
/// does not depend on how many others there are or in which order they speak. No I/O, no clock.
package struct PumpFleet: Sendable {
  package static let countMax = 10_000

  private struct Pump {
    let asset: PumpAsset
    let idPrefix: [UInt8]
    let topics: (asset: String, metrics: String)
    var counter: UInt64 = 0
    var readings: Readings
  }

  private var pumps: [Pump] = []

  /// - Parameters:
  ///   - count: 1 ... `countMax`.
  ///   - seed: decides facts and readings of every pump.
  ///   - run: see the head of this file.
  package init(count: Int, seed: UInt64, run: RunID?) {
    precondition((1...PumpFleet.countMax).contains(count), "the command bounds the number of pumps")
    pumps.reserveCapacity(count)
    for number in 1...count {
      var generator = SplitMix64(seed: seed, stream: UInt64(number))
      let asset = PumpAsset(number: number, using: &generator)
      pumps.append(
        Pump(
          asset: asset, idPrefix: Array((run.map { "\($0)-" } ?? "").utf8) + asset.id.utf8,
          topics: ("pumps/\(asset.id)/asset", "pumps/\(asset.id)/metrics"),
          readings: Readings(generator: generator)))
    }
  }

  package var count: Int { pumps.count }

  package func asset(ofPump pump: Int) -> PumpAsset { pumps[pump].asset }

  package func topic(of kind: PumpEventKind, pump: Int) -> String {
    kind == .asset ? pumps[pump].topics.asset : pumps[pump].topics.metrics
  }

  /// Appends the next event of one pump and answers with its counter.
  package mutating func appendEvent(
    _ kind: PumpEventKind, pump: Int, at time: WallTime, to bytes: inout [UInt8]
  ) -> UInt64 {
    pumps[pump].counter += 1
    let counter = pumps[pump].counter
    bytes.append(ascii: "{\"messageId\":\"")
    appendMessageID(pump: pump, counter: counter, to: &bytes)
    bytes.append(ascii: "\",\"assetId\":\"")
    bytes.append(utf8: pumps[pump].asset.id)
    bytes.append(ascii: "\",")
    switch kind {
    case .asset:
      pumps[pump].asset.appendFields(to: &bytes)
    case .metrics:
      bytes.append(ascii: "\"timestamp\":\"")
      time.appendRFC3339(to: &bytes)
      bytes.append(ascii: "\"")
      for metric in Metric.allCases {
        let properties = metric.properties
        bytes.append(ascii: ",\"")
        bytes.append(ascii: properties.field)
        bytes.append(ascii: "\":")
        bytes.append(
          fixed: pumps[pump].readings.next(metric), decimals: properties.decimals)
      }
    }
    bytes.append(ascii: "}")
    return counter
  }

  /// Appends the message id of a pump's event.
  package func appendMessageID(pump: Int, counter: UInt64, to bytes: inout [UInt8]) {
    bytes.append(contentsOf: pumps[pump].idPrefix)
    bytes.append(UInt8(ascii: "-"))
    bytes.append(decimal: counter, digits: 6)
  }

  package func messageID(pump: Int, counter: UInt64) -> String {
    var bytes: [UInt8] = []
    appendMessageID(pump: pump, counter: counter, to: &bytes)
    return String(decoding: bytes.span)
  }
}
