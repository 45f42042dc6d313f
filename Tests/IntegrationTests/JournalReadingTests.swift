// Goal: the reading commands of `penstock journal` tell what is in a file, to people and programs,
// beside a writer, of a copy and of damage; and end with the codes that their help names.
// Method: the built binary on journals with known contents.

import GatewayCore
import JSONScanning
import Platform
import RingJournal
import TestSupport
import Testing

@Suite("journal: the reading commands")
struct JournalReadingTests {
  /// Golden texts name the journal and the epoch, which are random.
  private func masked(_ text: String, _ sample: borrowing SampleJournal) -> String {
    text.replacing(sample.id, with: "JOURNAL").replacing(sample.epoch, with: "EPOCH")
  }

  private func isJSON(_ text: some StringProtocol) -> Bool {
    var scanner = JSONScanner(pointers: [])
    return scanner.scan(Array(text.utf8).span) == .valid
  }

  @Test("golden list")
  func list() throws {
    var sample = try SampleJournal()
    try sample.fill()
    for arguments in [
      ["list"], ["list", "--groups"], ["stats"], ["verify"], ["show"], ["export"], ["tail"],
    ] {
      let all = ["journal"] + arguments + [sample.path] + (arguments == ["show"] ? ["1"] : [])
      let text = try Command(executable: Command.penstock, arguments: all, environment: [:], within: .seconds(30))
      Issue.record("\(arguments) \(text.code ?? -1)\n\(masked(text.output, sample))\(text.error)")
      let json = try Command(executable: Command.penstock, arguments: all + ["--json"], environment: [:], within: .seconds(30))
      Issue.record("\(arguments) \(json.code ?? -1)\n\(masked(json.output, sample))\(json.error)")
    }
  }
}
