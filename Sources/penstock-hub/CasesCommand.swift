import ArgumentParser
import GatewayCore
import Hub
import Maintenance
import Platform

struct CasesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cases",
    abstract: "List the maintenance cases and how far they are.",
    discussion: """
      One line for each asset: its running case, or with --all its last one. ordering: waits for \
      the work order; stopping: for the pump's confirmation; closing and cancelling: for the order \
      to end. STOPPED: whether the pump has confirmed that it stands still.
      """)

  @OptionGroup var arguments: DatabaseArguments
  @Flag(help: "Also cases that are over.") var all = false

  func run() throws {
    let cases = KeptCases.all(try arguments.open().load().policyRows)
    var table = Table(
      "ASSET", "CASE", "PHASE", ">ATTEMPT", "STOPPED", "SINCE", "DEADLINE", "RULE", "REASON")
    for kept in cases where all || !kept.isOver {
      let reason = kept.reason?.rawValue
      if arguments.json {
        JSONLine { line in
          line.put("assetId", kept.cause.asset)
          line.put("case", kept.id)
          line.put("phase", kept.phase.rawValue)
          line.put("attempt", UInt64(kept.attempt))
          line.put("stopped", kept.pumpHasStopped ? "yes" : "no")
          line.put("since", kept.startedAt.description)
          line.put("deadline", kept.deadline?.description)
          line.put("rule", kept.cause.rule)
          line.put("alert", kept.cause.alert)
          line.put("reason", reason)
          line.put("detail", kept.detail.isEmpty ? nil : kept.detail)
        }.show()
      } else {
        table.add(
          kept.cause.asset, kept.id, kept.phase.rawValue, "\(kept.attempt)",
          kept.pumpHasStopped ? "yes" : "no", kept.startedAt.description,
          kept.deadline?.description ?? "-", kept.cause.rule, reason ?? "-")
      }
    }
    if !arguments.json { table.show() }
  }
}
