import GatewayConfiguration
import GatewayCore

/// The input is a configuration file. Files and environment exist and hold nothing of interest.
///
/// Promise: every refusal says where and what, on one printable line.
enum ConfigurationTarget {
  private static let surroundings = Surroundings(
    environment: { $0.isEmpty ? nil : "value" }, problemOfSecretFile: { _ in nil },
    problemOfFile: { _ in nil })

  static func run(_ input: Span<UInt8>) throws(Violation) -> Bool {
    do throws(ConfigurationError) {
      _ = try Configuration.parse(input, file: "penstock.yaml", surroundings: surroundings)
    } catch {
      try require(!error.diagnostics.isEmpty, "a refusal has a reason")
      for diagnostic in error.diagnostics {
        let isOneLine = diagnostic.description.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f }
        try require(isOneLine, "a diagnostic is one printable line: \(diagnostic)")
        try require(
          diagnostic.line >= 0 && diagnostic.column >= 0, "a diagnostic has a place in the file")
      }
      return false
    }
    return true
  }

  static func seeds() -> [[UInt8]] {
    [
      """
      gateway:
        id: gateway-01
      brokers:
        field:
          url: mqtt://127.0.0.1:1883
        central:
          url: mqtts://central.example.com:8883
          client_id: penstock-${gateway.id}
      routes:
        - name: telemetry
          from: field
          subscribe: [pumps/+/metrics, pumps/+/asset]
          to:
            - name: central
              broker: central
      """,
      "gateway:\n  id: &a gw\nroutes: *a\n", "a: [1, {b: 'c'}]\n--- x\n",
      "%YAML 1.2\n---\n? k\n: v",
      "routes: [{name: \"\\x01\\n\", journal: {size: 16MiB}}]", "a: |\n  text\n  more\nb: >-\n  x",
    ].map { Array($0.utf8) }
  }
}
