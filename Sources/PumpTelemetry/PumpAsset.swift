package import GatewayCore
import JSONScanning

/// Facts of a pump that somebody has laid down; nil: made up from the seed.
package struct PumpFacts: Sendable, Hashable {
  package static let textByteCountMax = 200

  package var type: String?
  package var operatingSystem: String?
  package var version: String?
  package var ipAddress: String?
  package var site: String?
  package var latitude: Double?
  package var longitude: Double?
  package var creationDate: WallTime?

  package init() {}
}

/// The facts of one pump that never change: its identity and what stands in its new-asset event.
package struct PumpAsset: Hashable, Sendable {
  package let id: String
  package let type: String
  package let operatingSystem: String
  package let version: String
  package let ipAddress: String
  package let site: String
  /// Degrees, WGS 84.
  package let latitude: Double
  package let longitude: Double
  package let creationDate: WallTime

  private static let systems = ["Linux 5.15", "Linux 6.1", "VxWorks 7", "QNX 7.1", "FreeRTOS 10.5"]

  /// Sites and where about they are.
  private static let sites: [(name: String, latitude: Double, longitude: Double)] = [
    ("Permian Basin", 31.85, -102.37), ("Eagle Ford", 28.90, -98.50),
    ("Bakken", 47.98, -103.25), ("Neuquen", -38.95, -68.06), ("Grane", 59.16, 2.49),
    ("Vaca Muerta", -38.50, -69.20), ("Williston", 48.15, -103.62), ("Orinoco", 8.60, -64.20),
  ]

  init(plan: PumpPlan, using generator: inout SplitMix64) {
    // All that can be made up is, so that a fact laid down changes none of the others.
    let system = Self.systems[Int.random(in: 0..<Self.systems.count, using: &generator)]
    let version =
      "\(Int.random(in: 1...4, using: &generator)).\(Int.random(in: 0...12, using: &generator))"
      + ".\(Int.random(in: 0...30, using: &generator))"
    // The number is in the address, so that no two pumps of one count share one.
    let stream = plan.stream
    let address =
      "10.\(Int.random(in: 16...31, using: &generator)).\(stream >> 8 & 0xff).\(stream & 0xff)"
    let place = Self.sites[Int.random(in: 0..<Self.sites.count, using: &generator)]
    let latitude = place.latitude + (generator.unit() - 0.5) / 2
    let longitude = place.longitude + (generator.unit() - 0.5) / 2
    // Whole seconds between 2015 and the end of 2024.
    let creationDate = WallTime(
      nanoseconds: Int64.random(in: 1_420_070_400..<1_735_689_600, using: &generator)
        * 1_000_000_000)
    let facts = plan.facts
    id = plan.id
    type = facts.type ?? "electrical-submersible-pump"
    operatingSystem = facts.operatingSystem ?? system
    self.version = facts.version ?? version
    ipAddress = facts.ipAddress ?? address
    site = facts.site ?? place.name
    self.latitude = facts.latitude ?? latitude
    self.longitude = facts.longitude ?? longitude
    self.creationDate = facts.creationDate ?? creationDate
  }

  /// Appends the fields behind messageId and assetId.
  func appendFields(to bytes: inout [UInt8]) {
    func put(_ field: StaticString, _ value: String) {
      bytes.append(ascii: field)
      JSONString.append(value, to: &bytes)
    }
    put("\"type\":", type)
    put(",\"operatingSystem\":", operatingSystem)
    put(",\"version\":", version)
    put(",\"ipAddress\":", ipAddress)
    put(",\"location\":{\"site\":", site)
    bytes.append(ascii: ",\"latitude\":")
    bytes.append(fixed: latitude, decimals: 5)
    bytes.append(ascii: ",\"longitude\":")
    bytes.append(fixed: longitude, decimals: 5)
    bytes.append(ascii: "},\"creationDate\":\"")
    creationDate.appendRFC3339(to: &bytes)
    bytes.append(ascii: "\"")
  }
}
