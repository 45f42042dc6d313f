// Goal: the article on the format says what the source says. Method: the tables of the source
// comments must stand in the article, line by line; numbers that stand for something must be those
// of the code; the example must be the golden file's bytes. Cannot show: that a table is what the
// code does; that is what the golden tests are for.

import GatewayCore
import Platform
import Testing

@testable import RingJournal

@Suite("The article on the format")
struct FormatArticleTests {
  private static let sources: String = {
    var path = #filePath.split(separator: "/").dropLast(3)
    path.insert("", at: path.startIndex)
    return path.joined(separator: "/") + "/Sources"
  }()

  private static func lines(_ path: String) throws -> [Substring] {
    let bytes = try File.readSmall("\(sources)/\(path)", byteCountMax: 1 << 20)
    return String(decoding: bytes, as: UTF8.self)
      .split(separator: "\n", omittingEmptySubsequences: false)
  }

  private static func article() throws -> [Substring] {
    try lines("RingJournal/RingJournal.docc/Format.md")
  }

  /// The lines of the code blocks of a file's comments, without the comment marks.
  private static func tables(_ path: String) throws -> [String] {
    try lines(path).compactMap { line in
      for mark in ["///     ", "//     "] where line.hasPrefix(mark) {
        return String(line.dropFirst(mark.count - 4))
      }
      return nil
    }
  }

  @Test(
    "every line of the byte tables in the source stands in the article, in order",
    arguments: [
      "Identity", "Superblock", "GroupHeader", "RecordHeader", "Tombstone",
    ])
  func tables(name: String) throws {
    let table = try FormatArticleTests.tables("RingJournal/Format/\(name).swift")
    #expect(table.count > 3)
    let article = try FormatArticleTests.article().map(String.init)
    let start = try #require(
      article.indices.first { article[$0...].starts(with: table) },
      "the table of \(name).swift does not stand in Format.md as it stands there")
    #expect(article[..<start].contains { $0.contains("`\(name)`") })
  }

  @Test("the layout and the encoding of properties are those of the source")
  func layout() throws {
    let article = try FormatArticleTests.article().map(String.init)
    for path in ["RingJournal/Format/Layout.swift", "GatewayCore/MQTTProperties.swift"] {
      let table = try FormatArticleTests.tables(path)
      #expect(table.count > 3)
      #expect(article.indices.contains { article[$0...].starts(with: table) }, "\(path)")
    }
  }

  @Test("numbers that stand for a word are those of the code")
  func numbers() throws {
    let text = try FormatArticleTests.article().joined(separator: "\n")
    for kind in RecordKind.allCases {
      #expect(text.contains("| kind | \(kind.rawValue) | `\(kind)` |"))
    }
    for reason in DeadLetterReason.allCases {
      #expect(text.contains("| dead-letter reason | \(reason.rawValue) | `\(reason.text)` |"))
    }
    for reason in GapReason.allCases {
      #expect(text.contains("| gap reason | \(reason.rawValue) | `\(reason.text)` |"))
    }
    let flags: [(RecordFlags, String)] = [
      (.json, "json"), (.retained, "retained"), (.clockSynchronised, "clock synchronised"),
    ]
    for (flag, word) in flags {
      #expect(text.contains("| record flag | \(flag.rawValue) | \(word) |"))
    }
    var quality = RecordFlags()
    quality.qualityOfService = .exactlyOnce
    #expect(quality.rawValue == 2 << 3)
    #expect(text.contains("format version \(Identity.version)"))
  }

  @Test("the example is the golden file, byte by byte")
  func example() throws {
    let golden = Set(
      try GoldenFileTests.text("clean-stop.hex").split(separator: "\n").map(String.init))
    var count = 0
    for line in try FormatArticleTests.article() {
      let text = line.drop { $0 == " " }
      guard text.dropFirst(8).hasPrefix(": "), Int(text.prefix(8), radix: 16) != nil else {
        continue
      }
      // What follows three spaces behind the bytes is explanation.
      let isThere = golden.contains { $0.prefix(49) == text.prefix(49) }
      #expect(isThere, "\(text)")
      count += 1
    }
    #expect(count > 10)
  }
}
