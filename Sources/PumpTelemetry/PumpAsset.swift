package import GatewayCore

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

  init(number: Int, using generator: inout SplitMix64) {
    let digits = String(number)
    id = "ND" + String(repeating: "0", count: max(0, 2 - digits.utf8.count)) + digits
    type = "electrical-submersible-pump"
    operatingSystem = Self.systems[Int.random(in: 0..<Self.systems.count, using: &generator)]
    version =
      "\(Int.random(in: 1...4, using: &generator)).\(Int.random(in: 0...12, using: &generator))"
      + ".\(Int.random(in: 0...30, using: &generator))"
    // The number is in the address, so that no two pumps share one.
    ipAddress =
      "10.\(Int.random(in: 16...31, using: &generator)).\(number >> 8 & 0xff).\(number & 0xff)"
    let place = Self.sites[Int.random(in: 0..<Self.sites.count, using: &generator)]
    site = place.name
    latitude = place.latitude + (generator.unit() - 0.5) / 2
    longitude = place.longitude + (generator.unit() - 0.5) / 2
    // Whole seconds between 2015 and the end of 2024.
    creationDate = WallTime(
      nanoseconds: Int64.random(in: 1_420_070_400..<1_735_689_600, using: &generator)
        * 1_000_000_000)
  }

  /// Appends the fields behind messageId and assetId. No text of ours needs escaping.
  func appendFields(to bytes: inout [UInt8]) {
    func put(_ field: StaticString, _ value: String) {
      bytes.append(ascii: field)
      bytes.append(utf8: value)
    }
    put("\"type\":\"", type)
    put("\",\"operatingSystem\":\"", operatingSystem)
    put("\",\"version\":\"", version)
    put("\",\"ipAddress\":\"", ipAddress)
    put("\",\"location\":{\"site\":\"", site)
    bytes.append(ascii: "\",\"latitude\":")
    bytes.append(fixed: latitude, decimals: 5)
    bytes.append(ascii: ",\"longitude\":")
    bytes.append(fixed: longitude, decimals: 5)
    bytes.append(ascii: "},\"creationDate\":\"")
    creationDate.appendRFC3339(to: &bytes)
    bytes.append(ascii: "\"")
  }
}
