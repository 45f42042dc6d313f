import GatewayConfiguration
import Glibc
import Platform
import Testing

/// A machine that is the same everywhere: some variables, and files whose path tells their state.
let sampleSurroundings = Surroundings(
  environment: { sampleEnvironment[$0] },
  problemOfSecretFile: { problem(of: $0) },
  problemOfFile: { problem(of: $0) })

let secret = "s3cret-hunter2"
let sampleEnvironment = ["FIELD_PASSWORD": secret, "GATEWAY_ID": "gw-env", "EMPTY": ""]

private func problem(of path: String) -> String? {
  if path.hasPrefix("/missing/") { return "\(path) cannot be read" }
  if path.hasPrefix("/open-to-all/") { return "\(path) can be read by others" }
  return nil
}

func parse(
  _ text: String, file: String = "test.yaml", surroundings: Surroundings = sampleSurroundings
) throws(ConfigurationError) -> LoadedConfiguration {
  try Configuration.parse(Array(text.utf8).span, file: file, surroundings: surroundings)
}

/// The errors of a text, one line each; empty when there are none.
func errors(in text: String, file: String = "test.yaml") -> String {
  do throws(ConfigurationError) {
    _ = try parse(text, file: file)
    return ""
  } catch {
    return error.description
  }
}

/// A whole configuration around some lines of the field broker, the route and its sink.
func configuration(
  gateway: String = "", broker: String = "", route: String = "", sink: String = ""
) -> String {
  func indented(_ text: String, _ count: Int) -> String {
    text.split(separator: "\n").map { String(repeating: " ", count: count) + $0 + "\n" }.joined()
  }
  return """
    gateway:
      id: gw-1
    \(indented(gateway, 2))
    brokers:
      field:
        url: mqtt://127.0.0.1
    \(indented(broker, 4))
      central:
        url: mqtts://central.example.com
    routes:
      - name: telemetry
        from: field
        subscribe: [pumps/#]
    \(indented(route, 4))
        to:
          - name: central
            broker: central
    \(indented(sink, 8))
    """
}

/// Files of the repository, found from this file.
enum Repository {
  static let root: String = {
    let parts = #filePath.split(separator: "/").dropLast(3)
    return "/" + parts.joined(separator: "/")
  }()

  static let fixtures = "\(root)/Tests/GatewayConfigurationTests/Fixtures"

  static func text(_ path: String) throws -> String {
    String(decoding: try File.readSmall(path, byteCountMax: 4 << 20), as: UTF8.self)
  }

  /// The names in a directory that end in `suffix`, without it, sorted.
  static func names(in directory: String, suffix: String) -> [String] {
    guard let handle = unsafe opendir(directory) else { return [] }
    defer { unsafe closedir(handle) }
    var names: [String] = []
    while let entry = unsafe readdir(handle) {
      let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name.hasSuffix(suffix) { names.append(String(name.dropLast(suffix.count))) }
    }
    return names.sorted()
  }
}
