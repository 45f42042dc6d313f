// Goal: a private broker is there when start() returns, keeps its port and (told so) its sessions,
// and is gone with its owner. Method: real mosquitto processes. Cannot show: behaviour of other
// Mosquitto versions than the one installed.

import Mosquitto
import Platform
import Testing

@testable import Audit

@Suite("a private broker", .enabled(if: BrokerProcess.isAvailable, "mosquitto is not installed"))
struct BrokerProcessTests {
  @Test("it answers after start, not after a stop, and again on the same port")
  func startStopStart() throws {
    var broker = try BrokerProcess(name: "test")
    try broker.start()
    let port = broker.port
    #expect(Loopback.answers(port: port))
    try broker.terminate()
    #expect(!Loopback.answers(port: port))
    try broker.start()
    #expect(Loopback.answers(port: port))
    let samePort = broker.port == port
    #expect(samePort)
    try broker.kill()
    #expect(!Loopback.answers(port: port))
    let starts = broker.log.split(separator: "\n").filter { $0.hasSuffix(" running") }.count
    #expect(starts == 2)
  }

  @Test("its directory and process go with it")
  func goesWithOwner() throws {
    func start() throws -> (UInt16, String) {
      var broker = try BrokerProcess(name: "test")
      try broker.start()
      return (broker.port, broker.directoryPath)
    }
    let (port, path) = try start()
    #expect(!Loopback.answers(port: port))
    #expect(throws: SystemError.self) {
      try File.readSmall(path + "/mosquitto.conf", byteCountMax: 10_000)
    }
  }

  @Test("a configuration mosquitto refuses is an error that shows its log")
  func badConfiguration() throws {
    var options = BrokerOptions()
    options.lines = ["no_such_option true"]
    var broker = try BrokerProcess(name: "test", options: options)
    do {
      try broker.start()
      Issue.record("it started")
    } catch {
      #expect(error.code == .badExit)
      #expect(error.description.contains("no_such_option"))
    }
  }

  @Test("a port that somebody holds before the first start is left for another one")
  func takenPort() throws {
    var first = try BrokerProcess(name: "first")
    try first.start()
    var second = try BrokerProcess(name: "second", port: first.port)
    try second.start()
    let areDistinct = second.port != first.port
    #expect(areDistinct)
  }

  @Test("every option stands in the configuration")
  func configurationText() {
    var options = BrokerOptions()
    options.persistence = true
    options.autosaveInterval = 30
    options.maxInflightMessages = 0
    options.maxQueuedMessages = 5000
    options.logTypes = ["all"]
    options.passwordFile = "pump:secret"
    options.accessControlList = "topic read #"
    options.tls = .init(certificateFile: "/c.pem", keyFile: "/k.pem", clientAuthorityFile: "/a.pem")
    let text = options.configuration(port: 1234, directory: "/d", runsAsRoot: false)
    let expected = """
      listener 1234 127.0.0.1
      certfile /c.pem
      keyfile /k.pem
      cafile /a.pem
      require_certificate true
      allow_anonymous false
      password_file /d/passwords
      acl_file /d/acl
      persistence true
      persistence_location /d/
      autosave_interval 30
      max_inflight_messages 0
      max_queued_messages 5000
      log_dest stderr
      log_type error
      log_type warning
      log_type notice
      log_type information
      log_type all

      """
    #expect(text == expected)
  }
}
