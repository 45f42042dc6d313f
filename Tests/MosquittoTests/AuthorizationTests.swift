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

  @Test(
    "each filter of a SUBSCRIBE has its own code", arguments: [ProtocolVersion.v5, .v311])
  func subscribeCodes(version: ProtocolVersion) throws {
    // Mosquitto's own access rules never refuse a SUBSCRIBE (2.0.11), so a scripted peer does.
    let reasons: [UInt8] = version == .v5 ? [1, 0x87, 0] : [1, 0x80, 0]
    let answer: [UInt8] =
      version == .v5
      ? [0x20, 3, 0, 0, 0, 0x90, 6, 0, 1, 0] + reasons : [0x20, 2, 0, 0, 0x90, 5, 0, 1] + reasons
    let peer = try ScriptedPeer(answer: answer)
    let recorder = Recorder()
    var mine = options(peer.port, "c")
    mine.protocolVersion = version
    var client = Client(options: mine, handler: recorder, logger: silent)
    try client.connectFully(recorder)
    let granted = try client.subscribeFully(recorder, ["a", "b", "c"])
    #expect(granted.map(\.rawValue) == reasons)
    #expect(granted.map(\.isFailure) == [false, true, false])
  }

  @Test("a filter that MQTT does not allow is refused and leaves the connection as it is")
  func badFilter() throws {
    let broker = try TestBroker()
    let recorder = Recorder()
    var client = Client(options: options(broker.port, "c"), handler: recorder, logger: silent)
    try client.connectFully(recorder)
    for filter in ["open/#/more", "a+", "", "a\0b"] {
      let error = #expect(throws: MosquittoError.self) { try client.subscribe([filter]) }
      #expect(error?.code == .invalidArgument)
    }
    #expect(try client.subscribeFully(recorder, ["open/#"]) == [.grantedQoS1])
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
    let second = Recorder()
    var old = Client(options: mine, handler: second, logger: silent)
    try old.connectFully(second)
    #expect(try old.publishFully(second, topic: "denied/x") == .success)
  }
}
