// Goal: a child process is started as asked, its end is noticed at once and said truthfully, and it
// never outlives its owner. Method: real /bin/sh children. Cannot show: what happens when this
// process itself is killed with SIGKILL (the child stays, see ChildProcess).

import GatewayCore
import Glibc
import Testing

@testable import Platform

@Suite("a child process")
struct ChildProcessTests {
  @Test("its exit status is reported")
  func exitStatus() throws {
    var child = try ChildProcess(executable: "/bin/sh", arguments: ["-c", "exit 42"])
    let status = try child.wait(atMost: .seconds(10))
    #expect(status == .exited(code: 42))
    let again = try child.wait(atMost: .zero)
    #expect(again == .exited(code: 42))
  }

  @Test("waiting ends at the deadline while it runs, and kill() ends it")
  func deadlineAndKill() throws {
    var child = try ChildProcess(executable: "/bin/sh", arguments: ["-c", "while :; do :; done"])
    let running = try child.wait(atMost: .milliseconds(20))
    #expect(running == nil)
    let status = try child.kill()
    #expect(status == .killed(signal: SIGKILL))
  }

  @Test("stop() kills what does not heed the signal")
  func stopEscalates() throws {
    let script = "trap '' TERM; echo ready; while :; do :; done"
    let directory = try TemporaryDirectory(prefix: "penstock-child")
    let log = directory.path + "/out"
    var child = try ChildProcess(
      executable: "/bin/sh", arguments: ["-c", script], standardOutput: .file(path: log))
    // The trap must be in place before the signal.
    let deadline = Clock.monotonic().nanoseconds + 10_000_000_000
    while Clock.monotonic().nanoseconds < deadline {
      if let text = try? File.readSmall(log, byteCountMax: 100), !text.isEmpty { break }
      _ = try child.wait(atMost: .milliseconds(2))
    }
    let status = try child.stop(atMost: .milliseconds(30))
    #expect(status == .killed(signal: SIGKILL))
  }

  @Test("it gets exactly the environment and no descriptor of ours")
  func environmentAndDescriptors() throws {
    let directory = try TemporaryDirectory(prefix: "penstock-child")
    let log = directory.path + "/out"
    // Deliberately without O_CLOEXEC, as a C library would open it.
    let leak = FileDescriptor(owning: dup2(1, 200))
    var child = try ChildProcess(
      executable: "/bin/sh",
      arguments: ["-c", "echo \"$A-$HOME-\"; test -e /proc/self/fd/200 && echo leaked; true"],
      environment: ["A": "b"], standardOutput: .file(path: log))
    _ = try child.wait(atMost: .seconds(10))
    #expect(leak.raw == 200)
    let text = String(decoding: try File.readSmall(log, byteCountMax: 1000), as: UTF8.self)
    #expect(text == "b--\n")
  }

  @Test("it ends with its owner")
  func endsWithOwner() throws {
    func start() throws -> pid_t {
      let child = try ChildProcess(
        executable: "/bin/sh", arguments: ["-c", "while :; do :; done"])
      return child.id
    }
    let id = try start()
    let answer = Glibc.kill(id, 0)
    #expect(answer == -1 && errno == ESRCH)
  }

  @Test("a program that does not exist is an error that names it")
  func missingProgram() {
    do {
      _ = try ChildProcess(executable: "/nonexistent/program", arguments: [])
      Issue.record("started a program that does not exist")
    } catch {
      #expect(error.code == ENOENT)
      #expect(error.description.contains("/nonexistent/program"))
    }
  }
}
