// Goal: the reading commands of `penstock journal` tell what is in a file, to people and programs,
// of a dead file, a copy and damage; and end with the codes that their help names.
// Method: the built binary on journals with known contents.

import GatewayCore
import JSONScanning
import Platform
import RingJournal
import TestSupport
import Testing

@Suite("journal: the reading commands")
struct JournalReadingTests {
  private func journal(_ arguments: String...) throws -> Command {
    try Command(
      executable: Command.penstock, arguments: ["journal"] + arguments, environment: [:],
      within: .seconds(60))
  }

  /// The output of a command that succeeds, with the random names masked.
  private func golden(_ sample: SampleJournal, _ arguments: String...) throws -> String {
    let command = try Command(
      executable: Command.penstock, arguments: ["journal"] + arguments, environment: [:],
      within: .seconds(60))
    #expect(command.code == 0, "\(arguments): \(command.error)")
    #expect(command.error == "")
    return command.output.replacing(sample.id, with: "JOURNAL")
      .replacing(sample.epoch, with: "EPOCH")
  }

  private func isJSON(_ text: some StringProtocol) -> Bool {
    var scanner = JSONScanner(pointers: [])
    return scanner.scan(Array(text.utf8).span) == .valid
  }

  @Test("list shows a record per line, refusals as the gap they become")
  func list() throws {
    let sample = try SampleJournal()
    try sample.fill()
    #expect(
      try golden(sample, "list", sample.path) == """
          SEQUENCE  TIME                        BYTES  KIND        FLAGS  TOPIC  ID
                 1  2026-11-23T06:00:00.000Z       32  data        1J     pumps/ND01/metrics  ND01-1
                 2  2026-11-23T06:00:00.000Z       10  data        1J     pumps/ND02/metrics  ND02-1
                 3  2026-11-23T06:01:00.000Z       11  data        1R     pumps/ND01/asset  -
               4–5  gap: 2 records, quota  pumps/ND03/metrics
                 6  2026-11-23T06:01:00.000Z       11  data        1J     pumps/ND01/metrics  ND01-2
                 7  2026-11-23T06:02:00.000Z       11  data        1J     pumps/ND01/metrics  ND01-3

        """)
    #expect(
      try golden(sample, "list", "--groups", sample.path) == """
           GROUP   LAP      OFFSET    BYTES       FIRST        LAST  EPOCH             COMMITTED
               3     0     8388608     4096           1           7  EPOCH  2026-11-23T06:02:00.000Z

        """)
  }

  @Test("list chooses by sequence, topic, sink and number")
  func choice() throws {
    let sample = try SampleJournal()
    try sample.fill()
    func sequences(_ arguments: String...) throws -> [String] {
      let command = try Command(
        executable: Command.penstock,
        arguments: ["journal", "list", "--json", sample.path] + arguments, environment: [:],
        within: .seconds(60))
      #expect(command.code == 0, "\(command.error)")
      return command.output.split(separator: "\n").map {
        String($0.dropFirst(12).prefix { $0.isNumber })
      }
    }
    #expect(try sequences("--from", "2", "--to", "3") == ["2", "3"])
    #expect(try sequences("--source", "pumps/+/asset") == ["3"])
    #expect(try sequences("--source", "pumps/ND01/#") == ["1", "3", "6", "7"])
    #expect(try sequences("--source", "pumps") == [])
    #expect(try sequences("--undelivered", "central") == ["4", "6", "7"])
    #expect(try sequences("--undelivered", "lab", "--limit", "1") == ["7"])
    #expect(try sequences("--since", "2026-11-23T06:02:00Z") == ["7"])
    #expect(try sequences("--until", "2026-11-23T07:01:00+01:00") == ["1", "2"])
    let wrong = try journal("list", sample.path, "--undelivered", "elsewhere")
    #expect(wrong.code == 64 && wrong.error.contains("central, lab"), "\(wrong.error)")
    #expect(try journal("list", sample.path, "--source", "a/b#").code == 64)
  }

  @Test("stats tells sizes, cursors, rates, sources")
  func stats() throws {
    let sample = try SampleJournal()
    try sample.fill()
    sample.clock.advance(.seconds(86_400 - 120))
    try sample.close()
    var text = try golden(sample, "stats", sample.path)
    // The age is that of today's clock.
    if let age = text.firstRange(of: "06:02:00.000Z, "), let end = text.firstRange(of: " ago\n") {
      text.replaceSubrange(age.upperBound..<end.lowerBound, with: "AGE")
    }
    #expect(
      text == """
        journal             JOURNAL, format 1
        gateway, route      gw-1, telemetry
        created             2026-11-23T06:00:00.000Z
        state               stopped in order at 2026-11-24T06:00:00.000Z
        epoch, lap          EPOCH, 0
        capacity            8.0 MiB
        undelivered         4.0 KiB, 0.0 %
        kept                4.0 KiB, 0.0 %, 1 commit group
        sequences           1 to 7
        oldest undelivered  2026-11-23T06:02:00.000Z, AGE ago
        rate                0.00 records/s, 0 B/s of the ring, over 1 d 0 h
        time to full        2047 d 0 h
        write amplification 103.96
        written per day     20.0 KiB
        syncs per day       4

        SINK     ACKNOWLEDGED  BEHIND    BYTES               TIME TO DRAIN
        central             3       4  4.0 KiB  required     unknown
        lab                 6       1  4.0 KiB  best effort  unknown

        LOST SINCE CREATION  RECORDS
        quota                      2

        RECORDS  BYTES  REFUSED  SOURCE
              3  108 B        0  pumps/ND01/metrics
              1   27 B        0  pumps/ND01/asset
              1   28 B        0  pumps/ND02/metrics
              0    0 B        2  pumps/ND03/metrics

        """)
    let json = try golden(sample, "stats", "--json", sample.path)
    #expect(isJSON(json), "\(json)")
    #expect(
      json.contains(#""name":"central","required":true,"acknowledged":3,"backlog_records":4"#))
  }

  @Test("stats tells what a sink has accepted out of turn, and does not count it as missing")
  func acceptedAhead() throws {
    let sample = try SampleJournal()
    try sample.fill()
    sample.accept(0, 6...6)
    try sample.close()
    let text = try golden(sample, "stats", sample.path)
    #expect(
      text.contains("central             3       3  4.0 KiB  required, accepted ahead 6–6 "),
      "\(text)")
    let json = try golden(sample, "stats", "--json", sample.path)
    #expect(isJSON(json), "\(json)")
    #expect(json.contains(#""acknowledged":3,"backlog_records":3"#), "\(json)")
    #expect(json.contains(#""accepted_ahead":[{"first":6,"last":6}]"#), "\(json)")
    #expect(json.contains(#""accepted_ahead":[]"#), "the other sink has nothing ahead: \(json)")
  }

  @Test("show tells all about a record, its payload readable or raw, and why there is none")
  func show() throws {
    let sample = try SampleJournal()
    try sample.fill()
    #expect(
      try golden(sample, "show", sample.path, "1") == """
        sequence            1
        topic               pumps/ND01/metrics
        message id          ND01-1
        kind                data
        received            2026-11-23T06:00:00.000Z
        quality of service  1
        retained            no
        epoch               EPOCH
        id hash             00000000000000010000000000000002
        payload digest      0000000000000003
        acknowledged by     central, lab
        property            line: north
        commit group        3 of lap 0, sequences 1 to 7
        in the file         at byte 8388608, 808 B in 4.0 KiB
        committed           2026-11-23T06:02:00.000Z
        boot                00000000000000010000000000000002
        payload             32 B, JSON
        {
          "flow": 12.5,
          "ok": [
            true,
            {}
          ]
        }

        """)
    let binary = try journal("show", sample.path, "3").output
    #expect(
      binary.hasSuffix(
        "00000000  1b 5b 33 31 6d 6e 6f 20  69 64 00                 |.[31mno id.|\n"),
      "\(binary)")
    #expect(!binary.contains("\u{1b}"), "an escape sequence reaches the terminal")
    #expect(try journal("show", sample.path, "3", "--raw").output == "\u{1b}[31mno id\u{0}")
    #expect(try journal("show", sample.path, "4").output.contains("2 messages refused: quota"))
    #expect(isJSON(try journal("show", sample.path, "3", "--json").output))
    let beyond = try journal("show", sample.path, "8")
    #expect(beyond.code == 1 && beyond.error.contains("the newest is 7"), "\(beyond.error)")
    #expect(try journal("show", sample.path, "none").code == 64)
  }

  @Test("export writes the envelope's events, refusals as gaps; raw writes payloads")
  func export() throws {
    let sample = try SampleJournal()
    try sample.fill()
    let text = try golden(sample, "export", sample.path)
    let lines = text.split(separator: "\n")
    #expect(lines.count == 6 && lines.allSatisfy { isJSON($0) })
    #expect(
      lines.first == """
        {"specversion":"1.0","id":"ND01-1","source":"penstock://gw-1/pumps/ND01/metrics",\
        "type":"penstock.record","time":"2026-11-23T06:00:00.000Z","sequence":"1",\
        "topic":"pumps/ND01/metrics","upline":"north","data":{"flow": 12.5, "ok": [true, {}]},\
        "journal":"JOURNAL","epoch":"EPOCH"}
        """)
    #expect(
      lines.dropFirst(3).first
        == #"{"gap":{"first":4,"last":5,"count":2,"reason":"quota","topic":"pumps/ND03/metrics"}}"#)
    let raw = try journal(
      "export", sample.path, "--format", "raw", "--source", "pumps/+/metrics", "--from", "2")
    #expect(raw.output == "{\"flow\":7}\n{\"flow\":13}\n{\"flow\":14}\n")
    let tail = try golden(sample, "tail", "-n", "2", sample.path)
    #expect(tail.split(separator: "\n").map { $0.prefix(10) } == ["         6", "         7"])
  }

  @Test("damage: verify says what and ends with 1, export and list tell the gap")
  func damage() throws {
    let sample = try SampleJournal()
    for number in 1...40 {
      try sample.append(
        topic: "pumps/ND01/metrics", id: "m-\(number)", payload: String(repeating: "x", count: 4000)
      )
      try sample.commit()
    }
    sample.acknowledge(0, through: 30)
    try sample.close()
    let good = try journal("verify", sample.path)
    #expect(good.code == 0 && good.output.hasSuffix("verdict   intact\n"), "\(good.output)")

    // Records 20 and 35: of 8 KiB each.
    let copy = sample.directory.path + "/copy"
    try File.replace(copy, with: File.readSmall(sample.path, byteCountMax: 1 << 25))
    try damage(copy, at: (8 << 20) + 19 * 8192 + 1000)
    try damage(copy, at: (8 << 20) + 34 * 8192 + 1000)
    let bad = try journal("verify", copy)
    #expect(bad.code == 1)
    #expect(bad.output.contains("damage    records 20–20 cannot be read"), "\(bad.output)")
    #expect(bad.output.contains("2 records cannot be read, 1 of them not delivered"))
    let json = try journal("verify", "--json", copy)
    #expect(json.code == 1 && isJSON(json.output))
    #expect(
      json.output.contains(
        #""corrupt":[{"first":20,"last":20,"count":1},{"first":35,"last":35,"count":1}]"#))
    let exported = try journal("export", copy)
    #expect(exported.code == 0)
    #expect(exported.output.split(separator: "\n").count == 40)
    #expect(
      exported.output.contains(
        "\n{\"gap\":{\"first\":20,\"last\":20,\"count\":1,\"reason\":\"corrupt\"}}\n"))
    let show = try journal("show", copy, "20")
    #expect(show.code == 1 && show.error.contains("corrupt"), "\(show.error)")

    // Both superblocks: a note, nothing is lost.
    try damage(copy + ".2", from: sample.path, at: [600, (4 << 20) + 600])
    let blocks = try journal("verify", copy + ".2")
    #expect(blocks.code == 0, "\(blocks.output)")
    #expect(blocks.output.contains("note      2 control blocks of 4 damaged"))
    // Cut short.
    let bytes = try File.readSmall(sample.path, byteCountMax: 1 << 25)
    try File.replace(copy, with: Array(bytes.prefix((8 << 20) + 30 * 8192)))
    let cut = try journal("verify", copy)
    #expect(cut.code == 1, "\(cut.output)")
    #expect(cut.output.contains("the file ends 7.8 MiB early"), "\(cut.output)")
    #expect(cut.output.contains("records 31–40 cannot be read"), "\(cut.output)")
  }

  private func damage(_ path: String, at offset: Int) throws {
    try damage(path, from: path, at: [offset])
  }

  private func damage(_ path: String, from source: String, at offsets: [Int]) throws {
    var bytes = try File.readSmall(source, byteCountMax: 1 << 25)
    for offset in offsets { bytes[offset] ^= 0x10 }
    try File.replace(path, with: bytes)
  }

  @Test("what is no journal gets its own words, and 65; what cannot be read gets 74")
  func wrongFiles() throws {
    let sample = try SampleJournal()
    try sample.fill()
    let directory = sample.directory.path
    try File.replace(directory + "/empty", with: [])
    try File.replace(directory + "/zeros", with: [UInt8](repeating: 0, count: 9 << 20))
    try File.replace(directory + "/text", with: Array("gateway: {id: gw-1}\n".utf8))
    let cases: [(String, Int32, String)] = [
      ("/empty", 65, "is empty"), ("/zeros", 65, "only zeros"), ("/text", 65, "is not a journal"),
      ("", 74, "it holds telemetry.journal: name one of them"), ("/none", 74, "does not exist"),
    ]
    for command in ["verify", "stats", "list", "export", "tail"] {
      for (name, code, words) in cases {
        let result = try journal(command, directory + name)
        #expect(result.code == code, "\(command) \(name): \(result.error)")
        #expect(result.error.contains(words), "\(command) \(name): \(result.error)")
        #expect(result.output == "")
      }
    }
    let nothing = try journal("verify")
    #expect(nothing.code == 64 && nothing.error.contains("--config"), "\(nothing.error)")
  }

  @Test("the configuration finds the journal")
  func configuration() throws {
    let sample = try SampleJournal()
    try sample.fill()
    let file = GatewayFile(fieldPort: 1883, centralPort: 1884)
    let path = sample.directory.path + "/penstock.yaml"
    try File.replace(
      path,
      with: Array(file.text(dataDirectory: sample.directory.path, observabilityPort: 0).utf8))
    let found = try journal("show", "--config", path, "--route", "telemetry", "7", "--raw")
    #expect(found.output == #"{"flow":14}"#, "\(found.error)")
    #expect(try journal("stats", "--config", path).code == 0)
    let unknown = try journal("stats", "--config", path, "--route", "other")
    #expect(unknown.code == 64 && unknown.error.contains("telemetry"), "\(unknown.error)")
    #expect(try journal("stats", sample.path, "--config", path).code == 64)
  }

  @Test("a reader that goes away is no error; an output that is full is one")
  func outputs() throws {
    let sample = try SampleJournal()
    for number in 0..<4000 {
      try sample.append(topic: "t", id: "\(number)", payload: String(repeating: "x", count: 100))
    }
    try sample.commit()
    let pipe = try Command(
      tool: "bash",
      [
        "-c", "set -o pipefail; '\(Command.penstock)' journal export '\(sample.path)' | head -n 1",
      ])
    #expect(pipe.code == 0 && pipe.output.split(separator: "\n").count == 1, "\(pipe.error)")
    let full = try Command(
      tool: "bash", ["-c", "'\(Command.penstock)' journal export '\(sample.path)' > /dev/full"])
    #expect(full.code == 74 && full.error.contains("not complete"), "\(full.error)")
  }

  @Test(
    "help names what the command does, an example and the exit codes",
    arguments: ["verify", "stats", "list", "show", "tail", "export"])
  func help(command: String) throws {
    let help = try journal(command, "--help")
    #expect(help.code == 0)
    #expect(help.output.contains("Exit codes: 0 "), "\(help.output)")
    #expect(help.output.contains("65 not a"), "\(help.output)")
    #expect(help.output.contains("penstock journal \(command) "))
    #expect(help.output.contains("--json"))
    let all = try Command("journal", "--help")
    #expect(all.output.contains("\n  \(command) "))
  }
}
