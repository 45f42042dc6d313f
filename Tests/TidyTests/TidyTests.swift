// Goal: the house rules hold in every file, today and after the next change. Method: reads the
// source tree as text. Cannot show: that the code is good.

import Glibc
import Platform
import Testing

struct SourceFile: Sendable, CustomTestStringConvertible {
  let path: String
  let lines: [Substring]

  var testDescription: String { path }
  var module: String { String(path.split(separator: "/").dropFirst().first ?? "") }
}

/// The repository, found from this file.
let root: String = {
  var path = #filePath.split(separator: "/").dropLast(3)
  path.insert("", at: path.startIndex)
  return path.joined(separator: "/")
}()

func names(in directory: String) -> [String] {
  guard let handle = unsafe opendir(directory) else { return [] }
  defer { unsafe closedir(handle) }
  var names: [String] = []
  while let entry = unsafe readdir(handle) {
    let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
      unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
    }
    if !name.hasPrefix(".") { names.append(name) }
  }
  return names.sorted()
}

func files(under directory: String, suffix: String) -> [SourceFile] {
  var found: [SourceFile] = []
  for name in names(in: "\(root)/\(directory)") {
    let path = "\(directory)/\(name)"
    if let status = try? FileStatus(path: "\(root)/\(path)"), status.isDirectory {
      found += files(under: path, suffix: suffix)
    } else if name.hasSuffix(suffix),
      let bytes = try? File.readSmall("\(root)/\(path)", byteCountMax: 1 << 22)
    {
      let text = String(decoding: bytes, as: UTF8.self)
      found.append(
        SourceFile(path: path, lines: text.split(separator: "\n", omittingEmptySubsequences: false))
      )
    }
  }
  return found
}

let sources = files(under: "Sources", suffix: ".swift")
let everySwiftFile = sources + files(under: "Tests", suffix: ".swift")

private func isComment(_ line: Substring) -> Bool {
  line.drop(while: { $0 == " " }).hasPrefix("//")
}

@Suite struct TidyTests {
  @Test("the tree is read: the other tests look at something")
  func treeIsThere() { #expect(sources.count > 60) }

  @Test("lines are at most 100 columns, without trailing space", arguments: everySwiftFile)
  func lines(file: SourceFile) {
    for (number, line) in file.lines.enumerated() {
      if line.count > 100 && !line.contains("https://") {
        Issue.record("\(file.path):\(number + 1) has \(line.count) columns")
      }
      if line.last == " " { Issue.record("\(file.path):\(number + 1) ends in a space") }
    }
  }

  @Test("files stay below 600 lines", arguments: everySwiftFile)
  func length(file: SourceFile) {
    #expect(file.lines.count <= 600, "\(file.path): two rooms in one?")
  }

  @Test(
    "what the house does not use",
    arguments: [
      "@unchecked Sendable", "nonisolated(unsafe)", "try!", " as! ", "fatalError(", "TODO", "FIXME",
      "Thread.sleep", "usleep(", " print(",
    ])
  func banned(word: String) {
    for file in sources {
      for (number, line) in file.lines.enumerated() where line.contains(word) {
        if !isComment(line) { Issue.record("\(file.path):\(number + 1) uses \(word)") }
      }
    }
  }

  @Test("no Foundation anywhere in the agent; the hub has it by its database")
  func noFoundation() {
    for file in sources where file.module != "Hub" {
      for line in file.lines where line.contains("import Foundation") {
        Issue.record("\(file.path): \(line)")
      }
    }
  }

  @Test("C libraries have one importer each")
  func importers() {
    let owners = [
      "CMosquitto": ["Mosquitto"], "CMosquittoGuard": ["Mosquitto"],
      "COpenSSL": ["Mosquitto"], "CYAML": ["GatewayConfiguration"], "CZstd": ["Envelope"],
      "CSodium": ["Deduplication"], "CChecksum": ["RingJournal"], "CPostgres": ["Hub"],
      "CLinux": ["Platform", "RingJournal"],
    ]
    for file in sources {
      for line in file.lines where line.hasPrefix("import C") || line.hasPrefix("package import C")
      {
        let name = String(line.split(separator: " ").last ?? "")
        guard let allowed = owners[name] else { continue }
        #expect(allowed.contains(file.module), "\(file.path) imports \(name)")
      }
    }
  }

  @Test("the word unsafe stands only in the C boundary, the disk and the byte codecs")
  func unsafeIsFenced() {
    let wholeModules: Set<String> = ["Platform", "Mosquitto", "CAllocationCounter"]
    let allowed = [
      "Sources/GatewayCore/Bytes.swift", "Sources/RingJournal/Storage/",
      "Sources/RingJournal/Format/", "Sources/Deduplication/Sodium.swift",
      "Sources/Envelope/Zstd", "Sources/GatewayConfiguration/YAMLEvents.swift",
      "Sources/Observability/Logs/", "Sources/Observability/Systemd/",
      "Sources/Hub/SQLite/HotStatement.swift", "Sources/AllocationCounting/", "Sources/Benchmarks/",
      "Sources/JSONScanning/Words.swift",
      "Sources/Hub/Postgres/PostgresConnection",
    ]
    for file in sources
    where !wholeModules.contains(file.module) && !allowed.contains(where: file.path.hasPrefix) {
      for (number, line) in file.lines.enumerated() where !isComment(line) {
        if line.split(separator: " ").contains("unsafe") || line.contains("(unsafe ") {
          Issue.record("\(file.path):\(number + 1): \(line)")
        }
      }
    }
  }

  @Test("every module name of the data path appears in the picture's list")
  func modules() throws {
    let manifest = try File.readSmall("\(root)/Package.swift", byteCountMax: 1 << 20)
    let text = String(decoding: manifest, as: UTF8.self)
    for name in names(in: "\(root)/Sources") where name != "Benchmarks" {
      #expect(text.contains("\"\(name)\""), "Sources/\(name) is no target")
    }
  }
}
