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
