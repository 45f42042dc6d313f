import Platform
import TestSupport

/// A program of the system that runs to its end.
enum Tool {
  static func isInstalled(_ name: String) -> Bool { Environment.executable(named: name) != nil }

  /// What it printed. Throws what it complained of when it fails.
  @discardableResult
  static func run(
    _ name: String, _ arguments: [String], within limit: Duration = .seconds(60)
  ) throws -> String {
    guard let program = Environment.executable(named: name) else {
      throw TestFailure("\(name) is not installed")
    }
    let directory = try TemporaryDirectory(prefix: "penstock-tool")
    let output = directory.path + "/output"
    let complaint = directory.path + "/error"
    var process = try ChildProcess(
      executable: program, arguments: arguments, standardOutput: .file(path: output),
      standardError: .file(path: complaint))
    guard let status = try process.wait(atMost: limit) else {
      throw TestFailure("\(name) \(arguments) does not end within \(limit)")
    }
    guard status == .exited(code: 0) else {
      throw TestFailure("\(name) \(arguments): \(text(of: complaint)) (\(status))")
    }
    return text(of: output)
  }
}

/// The text of a file; empty when it is not there.
func text(of path: String) -> String {
  guard let bytes = try? File.readSmall(path, byteCountMax: 256 << 20) else { return "" }
  return String(decoding: bytes, as: UTF8.self)
}
