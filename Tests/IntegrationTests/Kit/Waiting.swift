import Glibc
import Platform
import TestSupport

/// Waits until `condition` holds. The pause only paces the look at it.
func wait(
  for what: String, within limit: Duration = .seconds(30), until condition: () throws -> Bool
) throws {
  let deadline = Deadline(in: limit)
  while try !condition() {
    if deadline.isOver { throw TestFailure("waited \(limit) in vain for: \(what)") }
    _ = poll(nil, 0, 10)
  }
}

/// The text of a file; empty when it is not there.
func text(of path: String) -> String {
  guard let bytes = try? File.readSmall(path, byteCountMax: 256 << 20) else { return "" }
  return String(decoding: bytes, as: UTF8.self)
}

extension String {
  /// How many lines contain all of `parts`.
  func lineCount(_ parts: String...) -> Int {
    split(separator: "\n").count { line in parts.allSatisfy { line.contains($0) } }
  }
}

/// The repository, found from this file.
let repositoryRoot: String = {
  "/" + #filePath.split(separator: "/").dropLast(4).joined(separator: "/")
}()
