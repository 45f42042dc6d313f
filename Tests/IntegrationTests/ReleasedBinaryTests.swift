// Goal: the program that is shipped is small and carries its Swift with it, without Foundation.
// Method: looks at dist/penstock, when `make build` has made one. Cannot show: that it is the
// present source's.

import Platform
import TestSupport
import Testing

private let released = "\(repositoryRoot)/dist/penstock"

@Suite(
  "the released binary",
  .enabled(
    if: (try? FileStatus(path: released)) != nil, "dist/penstock is missing: run make build first"))
struct ReleasedBinaryTests {
  @Test("it is stripped and at most 30 MB")
  func size() throws {
    #expect(try FileStatus(path: released).byteCount <= 30_000_000)
    let sections = try Command(tool: "readelf", ["-S", "-W", released])
    #expect(sections.code == 0, "\(sections.error)")
    #expect(sections.output.contains(".text"))
    #expect(!sections.output.contains(".symtab") && !sections.output.contains(".debug_info"))
  }

  @Test("it needs no Swift library, no Foundation and no ICU at run time")
  func libraries() throws {
    let dynamic = try Command(tool: "readelf", ["-d", "-W", released])
    #expect(dynamic.code == 0, "\(dynamic.error)")
    let needed = dynamic.output.split(separator: "\n").filter { $0.contains("(NEEDED)") }
    #expect(needed.contains { $0.contains("libmosquitto.so.1") })
    for word in ["libswift", "libFoundation", "lib_Foundation", "libicu", "libdispatch"] {
      #expect(!needed.contains { $0.contains(word) }, "\(word)")
    }
  }

  @Test("no full Foundation and no ICU data are linked into it")
  func contents() throws {
    // FoundationEssentials is there: ArgumentParser imports it. The weight is in the rest, which
    // begins with the names of the module, of its internationalisation and of ICU's tables.
    let patterns = [
      "_FoundationICU", "FoundationInternationalization", "$s10Foundation", "icudt",
    ]
    for pattern in patterns {
      // grep counts the lines of the binary that hold it.
      let found = try Command(tool: "grep", ["-c", "-a", "-F", pattern, released])
      #expect(found.output == "0\n", "\(pattern): \(found.output)")
    }
    // Control: the search finds what is there.
    let control = try Command(tool: "grep", ["-c", "-a", "-F", "libmosquitto", released])
    #expect(control.output != "0\n")
  }

  @Test(
    "nothing in it breaks a promise on purpose: it does not know the variables that ask for it",
    arguments: ["PENSTOCK_TEST_FAILPOINT", "PENSTOCK_TEST_SABOTAGE"])
  func noSabotage(variable: String) throws {
    func lineCount(in program: String) throws -> String {
      try Command(tool: "grep", ["-c", "-a", "-F", variable, program]).output
    }
    #expect(try lineCount(in: released) == "0\n")
    // Control: the search finds it in the program that the tests run.
    #expect(try lineCount(in: Command.penstock) != "0\n")
  }

  @Test("it runs, and says which version it is")
  func version() throws {
    let command = try Command(
      executable: released, arguments: ["version"], environment: [:], within: .seconds(20))
    #expect(command.code == 0)
    #expect(command.output.contains("0."))
  }
}
