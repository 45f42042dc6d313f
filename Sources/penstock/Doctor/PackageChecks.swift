import Platform

/// Debian's versions of what we link. A library cannot tell its patch level itself: 2.0.11 with and
/// without security fixes says 2.0.11.
enum PackageChecks {
  private static let database = "/var/lib/dpkg/status"
  private static let byteCountMax = 256 << 20
  private static let packages = [
    "libmosquitto1", "mosquitto", "libssl3", "libzstd1", "libsodium23",
  ]

  static var findings: [Finding] {
    guard let bytes = try? File.readSmall(database, byteCountMax: byteCountMax) else {
      return [
        .warning(
          "packages", database, "cannot be read: the patch level of libmosquitto is not known",
          "check its version by other means")
      ]
    }
    return findings(versions(bytes))
  }

  static func findings(_ versions: [String: String]) -> [Finding] {
    packages.compactMap { name in
      guard let version = versions[name] else { return nil }
      if name == "libmosquitto1" || name == "mosquitto", !isFixed(version) {
        return .warning(
          "packages", name, "\(version) has known holes that a hostile peer can use",
          "apt-get install --only-upgrade \(name); fixed from 2.0.11-1.2+deb12u2 on")
      }
      return .ok("packages", name, version)
    }
  }

  /// Whether the fixes of Debian 12's second update are in: later upstream versions have them.
  static func isFixed(_ version: String) -> Bool {
    guard version.hasPrefix("2.0.11-") else { return !version.hasPrefix("1.") }
    guard let mark = version.firstRange(of: "+deb12u") else { return false }
    let digits = version[mark.upperBound...].prefix { $0.isNumber }
    return (Int(digits) ?? 0) >= 2
  }

  /// Versions of installed packages (dpkg(1): paragraphs of `Name: value`).
  static func versions(_ bytes: [UInt8]) -> [String: String] {
    var versions: [String: String] = [:]
    var name = ""
    var isInstalled = false
    for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      guard line.first != UInt8(ascii: " ") else { continue }
      if line.isEmpty {
        name = ""
        isInstalled = false
      } else if line.starts(with: "Package: ".utf8) {
        name = String(decoding: line.dropFirst(9), as: UTF8.self)
      } else if line.starts(with: "Status: ".utf8) {
        isInstalled = line.elementsEqual("Status: install ok installed".utf8)
      } else if line.starts(with: "Version: ".utf8), isInstalled, packages.contains(name) {
        versions[name] = String(decoding: line.dropFirst(9), as: UTF8.self)
      }
    }
    return versions
  }
}
