// Goal: hub.yaml says what the program does. Method: the sample is parsed, compared with the
// defaults, and searched for every key; errors by hand. Cannot show: that the prose is right.

import GatewayCore
import Testing

@testable import GatewayConfiguration

@Suite("hub settings") struct HubSettingsTests {
  private func parse(_ text: String) throws(ConfigurationError) -> HubSettings.Loaded {
    try HubSettings.parse(Array(text.utf8).span, file: "hub.yaml")
  }

  private let sample: String

  init() throws { sample = try Repository.text("\(Repository.root)/edge-config/hub.yaml") }

  @Test("the sample holds the defaults, without a warning")
  func defaults() throws {
    let loaded = try parse(sample)
    #expect(loaded.warnings == [])
    let minimal = try parse("hub: {id: hub-1}\nbroker: {url: mqtt://127.0.0.1:1883}\n")
    #expect(loaded.settings == minimal.settings)
  }

  @Test("the sample documents every key of its own sections")
  func keys() {
    let keys = HubSettings.schemaKeys().filter { !$0.hasPrefix("broker.") }
    #expect(keys.count > 15)
    for key in keys {
      let name = key.split(separator: ".").last.map(String.init) ?? key
      if name != "allow_remote" { #expect(sample.contains("\(name):"), "\(key)") }
    }
  }

  @Test("the values in force read back to themselves, without the secrets in them")
  func effective() throws {
    let surroundings = Surroundings(
      environment: { $0 == "SECRET" ? "hunter2" : nil }, problemOfSecretFile: { _ in nil },
      problemOfFile: { _ in nil })
    func parse(_ text: String) throws -> HubSettings {
      try HubSettings.parse(
        Array(text.utf8).span, file: "hub.yaml", surroundings: surroundings
      ).settings
    }
    for text in [
      sample,
      """
      hub: {id: h}
      broker:
        url: [mqtts://a.example.com, mqtts://b.example.com]
        username: u
        password: ${env:SECRET}
      consume: {shared_group: g, subscribe: [a/+, b]}
      retention: {readings: 30d, downsample: none}
      events: {snapshot_every: none}
      observability: {listen: none}
      """,
    ] {
      let settings = try parse(text)
      #expect(!settings.effectiveText.contains("hunter2"))
      #expect(try parse(settings.effectiveText) == settings, "\(settings.effectiveText)")
    }
  }

  @Test("errors name line and column, all of them")
  func errors() {
    do throws(ConfigurationError) {
      _ = try parse("hub: {id: \"a b\"}\nconsume: {max_envelope: 5, what: 1}\n")
      Issue.record("it was accepted")
    } catch {
      let texts = error.diagnostics.map(\.description)
      #expect(texts.contains { $0.hasPrefix("hub.yaml:1:11: hub.id:") })
      #expect(texts.contains { $0.hasPrefix("hub.yaml:2:25: consume.max_envelope:") })
      #expect(texts.contains { $0.hasPrefix("hub.yaml:2:28: consume.what:") })
      #expect(texts.contains { $0.contains("broker") })
    }
  }
}

@Suite("hub database") struct HubDatabaseTests {
  private func diagnostics(_ hub: String, _ rest: String = "") -> [String] {
    let text = "hub: {id: hub-1, \(hub)}\nbroker: {url: mqtt://127.0.0.1:1883}\n\(rest)\n"
    do throws(ConfigurationError) {
      return try HubSettings.parse(Array(text.utf8).span, file: "hub.yaml").warnings
        .map(\.description)
    } catch {
      return error.diagnostics.map(\.description)
    }
  }

  @Test(
    "a URL of PostgreSQL is taken",
    arguments: [
      "postgres://db.example.com/penstock",
      "postgresql://u@db.example.com:5433/p?sslmode=verify-ca",
      "postgres://u@%2Frun%2Fpostgresql/p?sslmode=disable", "postgres://u@a,b:1/p",
      "postgres:///p", "postgres://u@[::1]:5432/p?sslmode=disable",
      "postgres://u@127.0.0.1/p?passfile=/etc/penstock/pgpass",
    ])
  func accepted(url: String) { #expect(diagnostics("database: \"\(url)\"") == []) }

  @Test(
    "a secret in it is refused, and not repeated",
    arguments: [
      "postgres://u:s3cret@db/p", "postgres://u@db/p?password=s3cret",
      "postgres://u@db/p?a=b&sslpassword=s3cret", "postgres://s3cret:@db/p",
    ])
  func secrets(url: String) {
    let found = diagnostics("database: \"\(url)\"")
    #expect(found.count == 1)
    #expect(found.first?.hasPrefix("hub.yaml:1:28: hub.database: ") == true)
    #expect(found.first?.contains("carries a password") == true)
    #expect(found.first?.contains("s3cret") == false)
  }

  @Test("what only one of the two databases has is refused for the other")
  func pairs() {
    let log = diagnostics("database: /var/lib/hub.sqlite", "outbox: {reader: log-reader}")
    #expect(log.count == 1)
    #expect(log.first?.hasPrefix("hub.yaml:3:18: outbox.reader: only PostgreSQL") == true)
    #expect(diagnostics("database: \"postgres:///p\"", "outbox: {reader: log-reader}") == [])
    let file = diagnostics("database_password_file: /nowhere/file")
    #expect(file.count == 2)
    #expect(file.allSatisfy { $0.contains("hub.database_password_file: ") })
  }

  @Test("a server elsewhere whose identity is not looked at is warned of")
  func unchecked() {
    let found = diagnostics("database: \"postgres://u@db.example.com/p?sslmode=require\"")
    #expect(found.count == 1)
    #expect(found.first?.contains("sslmode=require") == true)
  }
}
