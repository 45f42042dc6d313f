// Goal: what the core publishes has a schema that says what it is. Method: each type's file is
// read; the members of real events are among its properties. Cannot show: that a value has its
// type.

import GatewayCore
import Hub
import Platform
import Testing

@Suite("schemas") struct SchemaTests {
  private static let types = EventType.allCases

  private func schema(_ type: EventType) throws -> String {
    let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    let path = "\(root)/Sources/Hub/Hub.docc/Schemas/\(type.shortName).json"
    return String(decoding: try File.readSmall(path, byteCountMax: 1 << 20), as: UTF8.self)
  }

  @Test("every type of the core has one, by its name", arguments: types)
  func exists(type: EventType) throws {
    #expect(try schema(type).contains("\"$id\": \"\(type.name)\""))
  }

  @Test("members of real events are in it")
  func members() throws {
    let directory = try TestDirectory()
    var stage = try Stage(try SQLiteStore(path: directory.path + "/hub.sqlite"))
    let batches = Batches()
    let facts =
      "\"type\":\"esp\",\"operatingSystem\":\"x\",\"version\":\"1\",\"ipAddress\":\"10.0.0.1\","
      + "\"location\":{\"site\":\"a\"},\"creationDate\":\"2020-01-01T00:00:00Z\""
    try stage.take(batches.received(1, [.asset("ND01", facts), .asset("ND01", "\"type\":\"y\"")]))
    try stage.take(batches.received(3, [.asset("ND01", "\"change\":\"retired\"")]))
    for event in try stage.events() {
      let schema = try schema(event.type)
      let text = String(decoding: event.payload, as: UTF8.self)
      for name in ["rejected", "registered", "retired"] + AssetFacts.names
      where text.contains("\"\(name)\":") {
        #expect(schema.contains("\"\(name)\""), "\(event.type.name): \(name)")
      }
    }
  }
}
