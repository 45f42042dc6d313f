import GRDB
import Platform

@testable import Hub

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

extension SQLiteStore {
  /// Makes the file as small as a disk may be. Of the one connection that writes.
  func limitSize(toPages pages: Int) throws {
    try pool.writeWithoutTransaction { db in
      try db.execute(sql: "PRAGMA max_page_count = \(pages)")
    }
  }
}
