// Goal: what is right is accepted, what is wrong is refused with exactly the words that help.
// Method: one small file per case; beside each wrong one stand the diagnostics it must produce, all
// of them. PENSTOCK_RECORD=1 writes those files anew: read the difference before keeping it. Cannot
// show: that the words are understood.

import GatewayConfiguration
import Platform
import Testing

private let valid = Repository.names(in: "\(Repository.fixtures)/valid", suffix: ".yaml")
private let invalid = Repository.names(in: "\(Repository.fixtures)/invalid", suffix: ".yaml")

@Suite struct FixtureTests {
  @Test("the fixtures are there: the other tests look at something")
  func fixturesAreThere() {
    #expect(valid.count >= 13)
    #expect(invalid.count >= 80)
  }

  @Test(
    "a right file is accepted, and what is printed reads back to the same options",
    arguments: valid)
  func accepted(name: String) throws {
    let text = try Repository.text("\(Repository.fixtures)/valid/\(name).yaml")
    let options = try parse(text, file: "\(name).yaml").options
    let printed = options.effectiveText
    let again = try parse(printed, file: "printed").options
    #expect(again == options, "\(printed)")
    #expect(again.effectiveText == printed)
    #expect(!printed.contains(secret))
  }

  @Test("a wrong file gives exactly the diagnostics beside it", arguments: invalid)
  func refused(name: String) throws {
    let path = "\(Repository.fixtures)/invalid/\(name)"
    let bytes = try File.readSmall("\(path).yaml", byteCountMax: 4 << 20)
    let error = try #require(throws: ConfigurationError.self) {
      try Configuration.parse(
        bytes.span, file: "\(name).yaml", surroundings: sampleSurroundings)
    }
    let actual = error.description + "\n"
    if Environment.value(of: "PENSTOCK_RECORD") == "1" {
      try File.replace("\(path).expected", with: Array(actual.utf8))
    }
    let expected = try Repository.text("\(path).expected")
    #expect(actual == expected)
    #expect(!actual.contains(secret) && !actual.contains("hunter2"))
  }
}
