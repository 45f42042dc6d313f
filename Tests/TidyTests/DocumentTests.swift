// Goal: what the pages say exists. Method: reads commands, targets, metrics and links out of the
// Markdown as text and looks for each in the tree. Cannot show: that a command does what is said.

import GatewayCore
import Platform
import Testing

/// A page, taken apart as far as these tests need it.
private struct Page: CustomTestStringConvertible, Sendable {
  let path: String
  let text: String
  /// Lines of ```sh blocks and inline code, without comments.
  let code: [String]

  var testDescription: String { path }

  init(path: String) {
    self.path = path
    text = contents(path)
    var code: [String] = []
    var fence: String?
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("```") {
        fence = fence == nil ? String(line.dropFirst(3)) : nil
      } else if fence == nil {
        let parts = line.split(separator: "`", omittingEmptySubsequences: false)
        code += parts.indices.filter { !$0.isMultiple(of: 2) }.map { String(parts[$0]) }
      } else if fence == "sh" {
        code.append(String(line.prefix { $0 != "#" }))
      }
    }
    self.code = code
  }

  /// The words that follow `name` (a program, with or without a directory) wherever it is run.
  func arguments(of name: String) -> [[String]] {
    code.compactMap { line in
      let words = line.split(separator: " ").map(String.init)
      guard let first = words.first, first == name || first.hasSuffix("/\(name)") else {
        return nil
      }
      return Array(words.dropFirst())
    }
  }

  /// Every longest run of a–z, 0–9 and _ that begins with `prefix`.
  func words(beginningWith prefix: String) -> Set<String> {
    let words = text.split { !($0.isASCII && ($0.isLowercase || $0.isNumber || $0 == "_")) }
    return Set(words.filter { $0.hasPrefix(prefix) }.map(String.init))
  }

  /// Targets of `](…)` that are files.
  var links: [String] {
    var links: [String] = []
    var rest = text[...]
    while let start = rest.firstRange(of: "](") {
      rest = rest[start.upperBound...]
      let target = String(rest.prefix { $0 != ")" })
      if !target.contains("://") { links.append(target) }
    }
    return links
  }
}

private func contents(_ path: String) -> String {
  guard let bytes = try? File.readSmall("\(root)/\(path)", byteCountMax: 1 << 22) else { return "" }
  return String(decoding: bytes, as: UTF8.self)
}

private let pages = ["README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"].map(Page.init)

private func isLowercaseWord(_ word: String) -> Bool {
  !word.isEmpty && word.utf8.allSatisfy { $0 == UInt8(ascii: "-") || (0x61...0x7a).contains($0) }
    && !word.hasPrefix("-")
}

@Suite("documents") struct DocumentTests {
  @Test("the pages are read and their code is found")
  func pagesAreThere() {
    for page in pages { #expect(!page.text.isEmpty, "\(page.path) is missing") }
    #expect(pages[0].code.count > 50)
    #expect(pages[0].arguments(of: "penstock").count > 5)
    #expect(pages[0].arguments(of: "make").count > 5)
  }

  @Test("every command that a page names is a command of the program", arguments: pages)
  private func commands(page: Page) {
    let commands = sources.filter { $0.module == "penstock" }
    let names = Set(
      commands.flatMap(\.lines).compactMap { line in
        line.firstRange(of: "commandName: \"").map {
          String(line[$0.upperBound...].prefix { $0 != "\"" })
        }
      })
    #expect(names.contains("run") && names.contains("stats"))
    for arguments in page.arguments(of: "penstock") {
      guard let command = arguments.first, isLowercaseWord(command) else { continue }
      #expect(names.contains(command), "\(page.path): penstock \(command)")
      guard command == "journal", arguments.count > 1 else { continue }
      #expect(names.contains(arguments[1]), "\(page.path): penstock journal \(arguments[1])")
    }
  }

  @Test("every make target and benchmark that a page names exists", arguments: pages)
  private func targets(page: Page) {
    let makefile = contents("Makefile").split(separator: "\n")
    let targets = Set(
      makefile.compactMap { line in
        line.firstIndex(of: ":").map { String(line[..<$0]) }
      }.filter(isLowercaseWord))
    #expect(targets.contains("demo"))
    for arguments in page.arguments(of: "make") {
      for word in arguments where isLowercaseWord(word) {
        #expect(targets.contains(word), "\(page.path): make \(word)")
      }
    }
    let benchmarks = contents("Sources/Benchmarks/PenstockBenchmarks/PenstockBenchmarks.swift")
    for part in page.text.split(separator: "BENCH=").dropFirst() {
      let list = part.prefix { $0.isLowercase || $0 == "|" }
      for name in list.split(separator: "|") {
        #expect(benchmarks.contains("case \"\(name)\""), "\(page.path): BENCH=\(name)")
      }
    }
  }

  @Test("every metric that a page names is in the catalogue", arguments: pages)
  private func metrics(page: Page) {
    let catalogue = contents("Sources/Observability/Metrics/MetricCatalogue.swift")
    for name in page.words(beginningWith: "penstock_") {
      #expect(catalogue.contains("\"\(name)\""), "\(page.path): \(name)")
    }
  }

  @Test("every file that a page links to or names exists", arguments: pages)
  private func linkedFiles(page: Page) {
    let folders = ["edge-config/", "systemd/", "Sources/", "Tests/"]
    let named = page.code.filter { code in
      folders.contains(where: code.hasPrefix) && !code.contains(" ") && !code.contains("*")
    }
    for path in page.links + named {
      #expect((try? FileStatus(path: "\(root)/\(path)")) != nil, "\(page.path): \(path)")
    }
  }

  @Test("the README's smallest configuration is edge-config/minimal.yaml")
  func minimalConfiguration() {
    let lines = contents("edge-config/minimal.yaml").split(
      separator: "\n", omittingEmptySubsequences: false)
    let start = lines.firstIndex { !$0.isEmpty && !$0.hasPrefix("#") } ?? lines.startIndex
    let shipped = lines[start...].joined(separator: "\n")
    #expect(shipped.hasPrefix("gateway:"))
    #expect(pages[0].text.contains("```yaml\n\(shipped)```"))
  }

  @Test("decisions have their parts and stay short")
  func decisions() {
    let decisions = files(under: "Sources", suffix: ".md").filter {
      $0.path.contains("/Decisions/")
    }
    #expect(decisions.count >= 6)
    for decision in decisions {
      #expect(decision.lines.count <= 60, "\(decision.path)")
      for part in ["Date: ", "## Context", "## Decision", "## Consequences", "## Alternatives"] {
        #expect(
          decision.lines.contains { $0.hasPrefix(part) }, "\(decision.path) has no \(part)")
      }
    }
  }
}
