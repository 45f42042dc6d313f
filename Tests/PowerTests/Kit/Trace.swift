import GatewayCore
import Platform
import TestSupport

/// System calls of the gateway, made to fail by strace(1), and what it did afterwards.
struct Trace {
  static let isPossible: Bool = {
    (try? Tool.run("strace", ["-f", "-e", "trace=none", "/bin/true"])) != nil
  }()

  /// One line of the log.
  struct Call {
    let process: Int
    let time: Double
    /// `fdatasync(9) = -1 EIO (Input/output error) (INJECTED)`
    let text: Substring

    func isCall(_ name: String) -> Bool { text.hasPrefix(name + "(") }
    var isInjected: Bool { text.contains("(INJECTED)") }
    /// A packet of type PUBACK goes out.
    var isAcknowledgement: Bool { isCall("write") && text.contains("\"\\x40\"") }
  }

  let calls: [Call]

  /// What runs a program under strace. The counters of `injection` begin at the start of the
  /// program and are kept for each thread; one thread writes the journal.
  /// `file`: only calls on this file are seen and counted.
  static func wrapper(into path: String, _ injection: String, file: String? = nil) -> [String] {
    let strace = Environment.executable(named: "strace") ?? "strace"
    let command = [strace, "-f", "-ttt", "-xx", "-s", "1", "-o", path]
    return command + (file.map { ["-P", $0] } ?? ["--seccomp-bpf"]) + [
      "-e", "trace=fsync,fdatasync,sync_file_range,pread64,pwrite64,write", "-e",
      "inject=\(injection)",
    ]
  }

  init(path: String) {
    // A call that overlaps another thread's is two lines: `… <unfinished ...>` when it begins and
    // `<... pwrite64 resumed>…` when it ends. It stands where it ended.
    var unfinished: [Int: Substring] = [:]
    calls = PowerTests.text(of: path).split(separator: "\n").compactMap { line in
      let parts = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: true)
      guard parts.count == 3, let process = Int(parts[0]), let time = Double(parts[1]) else {
        return nil
      }
      var text = parts[2]
      if text.hasSuffix("<unfinished ...>") {
        unfinished[process] = text.dropLast("<unfinished ...>".count)
        return nil
      }
      if text.hasPrefix("<... "), let begun = unfinished.removeValue(forKey: process),
        let end = text.firstIndex(of: ">")
      {
        text = begun + text[text.index(after: end)...]
      }
      return Call(process: process, time: time, text: text)
    }
  }

  var firstInjected: Int? { calls.firstIndex(where: \.isInjected) }

  /// Seconds from call number `index` to the end of the process with exit code `code`; nil: it has
  /// not ended so.
  func seconds(from index: Int, toExit code: Int32) -> Double? {
    calls.last { $0.text == "+++ exited with \(code) +++" }.map { $0.time - calls[index].time }
  }

  /// What the gateway must not do once call number `index` has failed; empty when it did none of
  /// it.
  func sins(after index: Int) -> [String] {
    calls[(index + 1)...].filter {
      $0.isAcknowledgement || $0.isCall("fdatasync") || $0.isCall("fsync")
        || $0.isCall("pwrite64") || $0.isCall("sync_file_range")
    }.map { String($0.text) }
  }
}
