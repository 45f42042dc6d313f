import GRDB
import Platform

/// Goes with its owner; a class, because closures name its path.
final class TestDirectory: Sendable {
  private let directory: TemporaryDirectory
  var path: String { directory.path }

  init() throws { directory = try TemporaryDirectory(prefix: "penstock-hub-test") }
}

/// A SQLite file that some other program made.
func makeForeignDatabase(_ path: String) throws {
  let queue = try DatabaseQueue(path: path)
  try queue.write { try $0.execute(sql: "CREATE TABLE notes (text TEXT)") }
}
