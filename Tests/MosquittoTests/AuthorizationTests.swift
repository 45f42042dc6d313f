import GatewayCore
import Mosquitto
import Platform
import TestSupport
import Testing

@Suite("Passwords and access rules of the broker")
struct AuthorizationTests {
  static func broker() throws -> TestBroker {
    try TestBroker { directory in
      try File.replace("\(directory)/passwords", with: Array("pump:secret\n".utf8))
      guard let program = Environment.executable(named: "mosquitto_passwd") else {
        throw TestFailure("mosquitto_passwd is not installed: apt-get install mosquitto")
      }
      var process = try ChildProcess(
        executable: program, arguments: ["-U", "\(directory)/passwords"],
        standardOutput: .discard, standardError: .discard)
      guard try process.wait(atMost: .seconds(20)) == .exited(code: 0) else {
        throw TestFailure("mosquitto_passwd failed")
      }
      let rules = "user pump\ntopic readwrite open/#\ntopic deny denied/#\n"
      try File.replace("\(directory)/acl", with: Array(rules.utf8))
      return """
        allow_anonymous false
        password_file \(directory)/passwords
        acl_file \(directory)/acl
        """
    }
  }

  static func pump(_ port: UInt16, _ password: Secret) -> ConnectionOptions {
    var mine = options(port, "pump-1")
    mine.username = "pump"
    mine.password = password
    return mine
  }

  @Test(
    "a wrong password is the broker's refusal, with its reason and no secret in the text",
    arguments: [ProtocolVersion.v5, .v311])
  func wrongPassword(version: ProtocolVersion) throws {
    let broker = try Self.broker()
    let recorder = Recorder()
    var mine = Self.pump(broker.port, .value("wrong-password"))
    mine.protocolVersion = version
    var client = Client(options: mine, handler: recorder, logger: silent)
    let error = try #require(throws: MosquittoError.self) {
      try client.connect(endpoint: 0)
      try client.drive { false }
    }
    #expect(error.code == .brokerRefused)
    #expect(error.reason == .notAuthorized)
    #expect(recorder.acknowledgements.map(\.reason) == [.notAuthorized])
    #expect(recorder.disconnects == [nil])
    #expect(client.isAccepted == false)
    #expect(!error.description.contains("wrong-password"))
    #expect(error.description.contains("not authorized (0x87)"))
  }

  @Test("the password file is read at each connect and one newline is cut")
  func passwordFile() throws {
    let broker = try Self.broker()
    let path = "\(broker.directory.path)/secret"
    try File.replace(path, with: Array("old\n".utf8))
    let recorder = Recorder()
    var client = Client(
      options: Self.pump(broker.port, .file(path: path)), handler: recorder, logger: silent)
    #expect(throws: MosquittoError.self) {
      try client.connect(endpoint: 0)
      try client.drive { false }
    }
    try File.replace(path, with: Array("secret\n".utf8))
    try client.connectFully(recorder)
    #expect(client.isAccepted == true)
  }

  @Test("each filter of a SUBSCRIBE has its own code")
  func subscribeCodes() throws {
    let broker = try Self.broker()
    let recorder = Recorder()
    var client = Client(
      options: Self.pump(broker.port, .value("secret")), handler: recorder, logger: silent)
    try client.connectFully(recorder)
    let granted = try client.subscribeFully(recorder, ["open/#", "denied/x", "open/x"])
    #expect(granted == [.grantedQoS1, .notAuthorized, .grantedQoS1])
    #expect(throws: MosquittoError.self) { try client.subscribe(["open/#/more"]) }
    #expect(client.socket != nil, "a refused filter leaves the connection as it is")
  }

  @Test("a SUBSCRIBE refused over MQTT 3.1.1 has the code 0x80")
  func subscribeCodes311() throws {
    let broker = try Self.broker()
    let recorder = Recorder()
    var mine = Self.pump(broker.port, .value("secret"))
    mine.protocolVersion = .v311
    var client = Client(options: mine, handler: recorder, logger: silent)
    try client.connectFully(recorder)
    #expect(try client.subscribeFully(recorder, ["denied/x"]) == [.unspecifiedError])
  }

  @Test("PUBACK codes: denied, nobody there, accepted; over MQTT 3.1.1 all look accepted")
  func publishCodes() throws {
    let broker = try Self.broker()
    let recorder = Recorder()
    var mine = Self.pump(broker.port, .value("secret"))
    var client = Client(options: mine, handler: recorder, logger: silent)
    try client.connectFully(recorder)
    #expect(try client.publishFully(recorder, topic: "denied/x") == .notAuthorized)
    #expect(try client.publishFully(recorder, topic: "open/x") == .noMatchingSubscribers)
    _ = try client.subscribeFully(recorder, ["open/x"])
    #expect(try client.publishFully(recorder, topic: "open/x") == .success)
    client.abort()

    mine.protocolVersion = .v311
    var old = Client(options: mine, handler: recorder, logger: silent)
    try old.connectFully(recorder)
    #expect(try old.publishFully(recorder, topic: "denied/x") == .success)
  }
}
