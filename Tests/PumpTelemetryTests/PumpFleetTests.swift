// Goal: events have the documented fields, are valid JSON, unique and repeatable from the seed.
// Method: golden events, the real scanner over many, two fleets side by side.
// Cannot show: that an engineer would take the values for those of his own pump.

import GatewayCore
import JSONScanning
import Testing

@testable import PumpTelemetry

@Suite("Pump fleet")
struct PumpFleetTests {
  static let time = WallTime(nanoseconds: 1_795_413_600_123_000_000)

  static func event(
    _ fleet: inout PumpFleet, _ kind: PumpEventKind = .metrics, pump: Int = 0
  ) -> String {
    var bytes: [UInt8] = []
    _ = fleet.appendEvent(kind, pump: pump, at: time, to: &bytes)
    return String(decoding: bytes.span)
  }

  /// The text of each named field, in the order asked for; nil where the event has none.
  static func fields(_ event: String, _ names: [String]) throws -> [String?] {
    var scanner = JSONScanner(pointers: try names.map { try JSONPointer($0) })
    let bytes = Array(event.utf8)
    #expect(scanner.scan(bytes.span) == .valid)
    return names.indices.map { index in
      scanner.match(index).map { String(decoding: bytes.span.extracting($0.content)) }
    }
  }

  @Test("events of seed 1 are these, letter by letter")
  func golden() {
    var fleet = PumpFleet(count: 1, seed: 1, run: RunID("run1"))
    #expect(Self.event(&fleet, .asset) == Golden.asset)
    #expect(Self.event(&fleet) == Golden.metrics)
  }

  @Test("a metric event has every documented field near its normal value")
  func metrics() throws {
    var fleet = PumpFleet(count: 40, seed: 3, run: nil)
    let names = ["/messageId", "/assetId", "/timestamp"]
    let metrics = Metric.allCases
    for pump in 0..<40 {
      for counter in 1...50 {
        let event = Self.event(&fleet, pump: pump)
        #expect((150...260).contains(event.utf8.count))
        let found = try Self.fields(event, names + metrics.map { "/\($0.properties.field)" })
        #expect(found[0] == fleet.messageID(pump: pump, counter: UInt64(counter)))
        #expect(found[1] == fleet.asset(ofPump: pump).id)
        #expect(found[2] == "2026-11-23T06:00:00.123Z")
        for (metric, text) in zip(metrics, found.dropFirst(3)) {
          let properties = metric.properties
          let value = try #require(text.flatMap { Double($0) })
          let margin = 1.1 * properties.spread + 4 * (properties.drift + properties.noise)
          #expect(abs(value / properties.normal - 1) < margin)
        }
      }
    }
  }

  @Test("a new-asset event has every documented field")
  func assets() throws {
    var fleet = PumpFleet(count: 300, seed: 3, run: nil)
    var addresses: Set<String?> = []
    for pump in 0..<300 {
      let found = try Self.fields(
        Self.event(&fleet, .asset, pump: pump),
        [
          "/messageId", "/assetId", "/type", "/operatingSystem", "/version", "/ipAddress",
          "/location/site", "/location/latitude", "/location/longitude", "/creationDate",
        ])
      #expect(!found.contains(nil))
      addresses.insert(found[5])
    }
    #expect(addresses.count == 300)
  }

  @Test("what a pump sends depends on the seed alone, not on the other pumps")
  func deterministic() {
    var small = PumpFleet(count: 3, seed: 9, run: nil)
    var large = PumpFleet(count: 50, seed: 9, run: nil)
    for _ in 0..<20 { _ = Self.event(&large, pump: 7) }
    for _ in 0..<20 {
      #expect(Self.event(&small, pump: 2) == Self.event(&large, pump: 2))
    }
    var other = PumpFleet(count: 3, seed: 10, run: nil)
    #expect(small.asset(ofPump: 0) != other.asset(ofPump: 0))
    #expect(Self.event(&small, pump: 0) != Self.event(&other, pump: 0))
  }

  @Test("message ids are unique over pumps, topics and runs")
  func ids() throws {
    var ids: Set<String?> = []
    for run in [nil, RunID("a"), RunID("b")] {
      var fleet = PumpFleet(count: 12, seed: 1, run: run)
      for pump in 0..<12 {
        for kind in PumpEventKind.allCases {
          for _ in 0..<5 {
            ids.insert(try Self.fields(Self.event(&fleet, kind, pump: pump), ["/messageId"])[0])
          }
        }
      }
    }
    #expect(ids.count == 3 * 12 * 2 * 5)
    #expect(ids.contains("a-ND01-000010"))
    #expect(ids.contains("ND12-000001"))
  }

  @Test("topics name asset and kind")
  func topics() {
    let fleet = PumpFleet(count: 101, seed: 1, run: nil)
    #expect(fleet.topic(of: .metrics, pump: 0) == "pumps/ND01/metrics")
    #expect(fleet.topic(of: .asset, pump: 100) == "pumps/ND101/asset")
  }

  @Test("a run's name is letters, digits and underscores")
  func runs() {
    #expect(RunID("") == nil)
    #expect(RunID("a-b") == nil)
    #expect(RunID("a\"b") == nil)
    #expect(RunID("aaaaaaaaaaaaaaaaa") == nil)
    #expect(RunID("Run_7")?.description == "Run_7")
    #expect(RunID(RunID.random().description) != nil)
    #expect(RunID.random() != RunID.random())
  }

  @Test(
    "numbers have the digits asked for",
    arguments: [
      (0.0, 2, "0.00"), (1.005, 1, "1.0"), (-0.001, 2, "0.00"), (-1.5, 0, "-2"),
      (9.999, 2, "10.00"),
      (3500.04, 1, "3500.0"), (-102.37, 5, "-102.37000"),
    ])
  func numbers(value: Double, decimals: Int, text: String) {
    var bytes: [UInt8] = []
    bytes.append(fixed: value, decimals: decimals)
    #expect(String(decoding: bytes.span) == text)
  }

  private enum Golden {
    static let asset =
      #"{"messageId":"run1-ND01-000001","assetId":"ND01","type":"electrical-submersible-pump","#
      + #""operatingSystem":"VxWorks 7","version":"3.7.20","ipAddress":"10.27.0.1","location":{"#
      + #""site":"Orinoco","latitude":8.55042,"longitude":-64.31706},"#
      + #""creationDate":"2024-06-19T09:10:01.000Z"}"#
    static let metrics =
      #"{"messageId":"run1-ND01-000002","assetId":"ND01","timestamp":"2026-11-23T06:00:00.123Z","#
      + #""rotation":3536.5,"current":44.69,"intakePressure":4239.3,"pressure":15360.9,"#
      + #""flowRate":286.39,"temperature":79.40}"#
  }
}
