import ArgumentParser
import Control
import GatewayConfiguration
import GatewayCore
import Platform

struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Look for trouble before it comes: this machine and its brokers.",
    discussion: """
      Checks, and says what to do about each finding:
        data directory  there, mounted, whose, which filesystem, room, and how long a sync takes
        journals        there, or room for them; as large as configured
        clock           synchronised
        process         open files, a running agent, the service's unit
        certificates    when those of the configuration end
        packages        Debian's versions of what is linked, with the fixes that matter
        brokers         each can be reached and lets us in; what it grants of session expiry, \
      receive maximum and packet size against what is configured; whether it grants each \
      subscription

      Run it as the gateway's user, as in `sudo -u penstock penstock doctor`: others may see other \
      files. It may run beside the agent: it connects under client ids of its own, that broker \
      access rules by client id do not know, with sessions that end at once, and publishes \
      nothing; whether publishing is allowed shows only when the gateway does it. In the data \
      directory it writes one block to a file without a name.

      Examples:
        penstock doctor --config /etc/penstock/penstock.yaml
        penstock doctor --json | jq '.findings[] | select(.level != "ok")'

      Exit codes: 0 no error, warnings perhaps · 1 an error · 64 usage · 78 the configuration has \
      errors.
      """)

  @Option(
    name: [.short, .long], help: ArgumentHelp("The gateway's configuration.", valueName: "file"))
  var config = AgentArguments.standardConfiguration

  @Flag(help: "Do not connect to the brokers.") var offline = false
  @Flag(help: "Tell only warnings and errors.") var quiet = false
  @Flag(help: "Print one JSON object.") var json = false

  func run() throws {
    let configuration = try load(config)
    let options = configuration.options
    var findings: [Finding] = configuration.warnings.map {
      .warning("configuration", config, "\($0)", "see edge-config/penstock.yaml")
    }
    if findings.isEmpty { findings.append(.ok("configuration", config, "has no errors")) }
    findings += MachineChecks(options: options).findings
    findings += PackageChecks.findings
    if !offline { findings += BrokerChecks(options: options).findings }
    if json {
      Console.line(
        JSONValue.object { object in
          object.put("errors", findings.count { $0.level == .error })
          object.put("warnings", findings.count { $0.level == .warning })
          object.put("findings", findings.map(\.json))
        }.line)
    } else {
      show(findings)
    }
    if findings.contains(where: { $0.level == .error }) { throw ArgumentParser.ExitCode(1) }
  }

  private func show(_ findings: [Finding]) {
    for finding in findings where !quiet || finding.level != .ok {
      let mark =
        switch finding.level {
        case .ok: Terminal.coloured("ok     ", .green)
        case .warning: Terminal.coloured("warning", .yellow)
        case .error: Terminal.coloured("ERROR  ", .red)
        }
      Console.line("\(mark)  \(finding.check)  \(finding.subject): \(Printable.text(finding.text))")
      if !finding.advice.isEmpty { Console.line("         → \(finding.advice)") }
    }
    let errors = findings.count { $0.level == .error }
    let warnings = findings.count { $0.level == .warning }
    Console.line(
      "\(Figures.count(errors, "error")), \(Figures.count(warnings, "warning")), "
        + "\(findings.count - errors - warnings) ok")
  }
}
