// YAML → the option structs of the stages.
//
// Reading has five steps, and each goes on after an error so that one run reports all of them:
//   1. bytes → tree with marks   YAMLDocument (libyaml); duplicate keys, anchors, tags refused
//   2. ${…} in every value       Substitution
//   3. tree → sections           BrokerOptions+YAML, RouteSection, SinkSection: types, ranges,
//                                unknown keys
//   4. what no section can know  CrossChecks: references, client ids, loops, commands
//   5. sections → GatewayOptions only when steps 1–4 found nothing
//
// Defaults live in the option structs and nowhere else.

import GatewayCore
import Ingest
import Mosquitto
import Observability
import Platform
import RingJournal
import Upstream

/// A configuration that can be used, and what deserves a look all the same.
package struct LoadedConfiguration: Sendable, Hashable {
  package let options: GatewayOptions
  /// Sorted by position.
  package let warnings: [Diagnostic]
}

package enum Configuration {
  /// Reads a file of at most 1 MiB. Throws every error in it; a file that cannot be read is one.
  package static func load(
    path: String, surroundings: Surroundings = .process
  ) throws(ConfigurationError) -> LoadedConfiguration {
    let bytes = try ConfigurationFile.read(path)
    return try parse(bytes.span, file: path, surroundings: surroundings)
  }

  /// Reads text. `file` is the name in diagnostics.
  package static func parse(
    _ bytes: Span<UInt8>, file: String, surroundings: Surroundings = .process
  ) throws(ConfigurationError) -> LoadedConfiguration {
    let findings = Findings(file: file)
    let draft = ConfigurationDraft(bytes, findings: findings, surroundings: surroundings)
    guard findings.errors.isEmpty, let draft else { throw ConfigurationError(findings.errors) }
    return LoadedConfiguration(options: draft.options(), warnings: findings.sortedWarnings())
  }
}

enum ConfigurationFile {
  /// At most 1 MiB; one that cannot be read is an error like those in it.
  static func read(_ path: String) throws(ConfigurationError) -> [UInt8] {
    do throws(SystemError) {
      return try File.readSmall(path, byteCountMax: YAMLDocument.byteCountMax)
    } catch {
      throw ConfigurationError([
        Diagnostic(
          file: path, line: 0, column: 0, keyPath: "",
          message: "cannot be read: \(error.reason); accepted: a YAML file of at most "
            + "\(ByteCount(YAMLDocument.byteCountMax))")
      ])
    }
  }
}

/// All sections as read, before they become options.
struct ConfigurationDraft {
  var gatewayID: String?
  var site: String?
  var dataDirectory = GatewayOptions.dataDirectoryDefault
  var dataDirectoryIsMount = false
  var brokers: [BrokerOptions] = []
  /// Also of brokers that were wrong: a reference to one of them is not a second error.
  var brokerNames: Set<String> = []
  var routes: [RouteSection] = []
  var observability = ObservabilityOptions()
  var logging = LoggingOptions()

  /// Nil when there is no tree to read; then there is an error in `findings`.
  init?(
    _ bytes: Span<UInt8>, findings: Findings, surroundings: Surroundings
  ) {
    guard var root = YAMLDocument.read(bytes, into: findings) else { return nil }
    let gatewayID = Self.gatewayID(of: root, surroundings)
    Substitution(gatewayID: gatewayID, surroundings: surroundings, findings: findings)
      .resolve(&root)
    var draft = ConfigurationDraft(gatewayID: gatewayID)
    SectionReader.read(root, path: "", findings: findings) { top in
      draft.read(&top, surroundings)
    }
    CrossChecks(draft: draft, findings: findings).run()
    self = draft
  }

  private init(gatewayID: String?) { self.gatewayID = gatewayID }

  /// Looked up ahead of everything else, because other values may refer to it. Errors are reported
  /// when the section is read.
  private static func gatewayID(of root: YAMLNode, _ surroundings: Surroundings) -> String? {
    guard case .mapping(let top) = root.content,
      let gateway = top.first(where: { $0.key == "gateway" })?.value,
      case .mapping(let entries) = gateway.content,
      let node = entries.first(where: { $0.key == "id" })?.value,
      case .scalar(var scalar) = node.content
    else { return nil }
    Substitution(gatewayID: nil, surroundings: surroundings, findings: Findings(file: ""))
      .resolve(&scalar, mark: node.mark, path: "gateway.id")
    guard !scalar.isBroken,
      Identifier.isValid(scalar.text, byteCountMax: Limits.identifierByteCountMax)
    else { return nil }
    return scalar.text
  }

  /// ## Configuration keys
  /// `gateway`, `brokers`, `routes` (required), `observability`, `logging`.
  private mutating func read(_ top: inout SectionReader, _ surroundings: Surroundings) {
    top.requiredSection("gateway", accepted: "a section with id: the gateway's name") { gateway in
      readGateway(&gateway)
    }
    top.requiredSection("brokers", accepted: "a section with one section per broker") { table in
      readBrokers(&table, surroundings)
    }
    top.sections("routes", count: 1...GatewayOptions.routesMax) { index, section in
      routes.append(
        RouteSection(path: "routes[\(index)]", section: &section, gatewayID: gatewayID))
    }
    top.section("observability") { observability.read(&$0) }
    top.section("logging") { section in
      section.read("level", .choice, into: &logging.level)
      section.read("format", .choice, into: &logging.format)
    }
  }

  private mutating func readGateway(_ gateway: inout SectionReader) {
    let identifier = ScalarKind.identifier(byteCountMax: Limits.identifierByteCountMax)
    _ = gateway.required("id", identifier)
    site = gateway.value("site", identifier)
    gateway.read(
      "data_directory", .path("a directory for journals"), into: &dataDirectory)
    while dataDirectory.hasSuffix("/"), dataDirectory.utf8.count > 1 { dataDirectory.removeLast() }
    gateway.read("data_directory_is_mount", .boolean, into: &dataDirectoryIsMount)
  }

  private mutating func readBrokers(_ table: inout SectionReader, _ surroundings: Surroundings) {
    let findings = table.findings
    let path = table.path
    table.table(nameByteCountMax: Limits.identifierByteCountMax) { name, section in
      brokerNames.insert(name)
      brokers.append(
        BrokerOptions(
          name: name, gatewayID: gatewayID, section: &section, surroundings: surroundings))
    }
    for name in table.keys { brokerNames.insert(name) }
    if table.keys.isEmpty {
      findings.error(at: path, "names no broker; accepted: one section per broker")
    } else if table.keys.count > GatewayOptions.brokersMax {
      findings.error(
        at: path,
        "names \(table.keys.count) brokers; accepted: at most \(GatewayOptions.brokersMax)")
    }
  }
}
