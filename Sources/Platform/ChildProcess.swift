import CLinux
import GatewayCore
import Glibc

/// Owns one child process: started by posix_spawn(3), reaped exactly once.
///
/// Promise: when the owner goes, so does the child. `deinit` sends SIGKILL to the child's process
/// group and reaps it, so no test and no demo leaves a broker behind, whichever way it returns. The
/// one exception: when *this* process dies by SIGKILL nobody is left to clean up. posix_spawn
/// cannot set PR_SET_PDEATHSIG, and that signal would be bound to the spawning thread anyhow.
///
/// The child gets `/dev/null` as standard input unless told otherwise, default signal dispositions,
/// an empty signal mask, a process group of its own (a Ctrl-C at the terminal reaches us, not it)
/// and no descriptor above 2. The process id stays ours until the child is reaped, so a signal can
/// never hit a stranger.
package struct ChildProcess: ~Copyable, Sendable {
  /// Where the child's standard output or standard error goes.
  package enum Output: Sendable, Hashable {
    case inherit
    case discard
    /// Appended to; created with mode 0600. Several writers may share one file.
    case file(path: String)
  }

  package enum ExitStatus: Sendable, Hashable, CustomStringConvertible {
    case exited(code: Int32)
    case killed(signal: Int32)

    package var description: String {
      switch self {
      case .exited(let code): "exit status \(code)"
      case .killed(let signal): "killed by signal \(signal)"
      }
    }
  }

  /// The process id, which is also the id of its process group.
  package let id: Int32
  /// Readable from the moment the child has ended (pidfd_open(2)): may be polled by the owner.
  private let exitDescriptor: FileDescriptor
  /// nil until the child was reaped.
  package private(set) var exitStatus: ExitStatus?

  /// Starts `executable` (a path: there is no search in PATH, see
  /// `Environment.executable(named:)`).
  ///
  /// - Parameters:
  ///   - arguments: without the program's own name, which is `executable`.
  ///   - environment: the child's whole environment; nil hands on ours.
  ///   - standardInput: a file or a terminal, opened to be read.
  /// - Throws: what posix_spawn or the kernel says, with the path. ENOENT: there is no such
  ///   program.
  package init(
    executable: String, arguments: [String], environment: [String: String]? = nil,
    standardInput: String = "/dev/null", standardOutput: Output = .inherit,
    standardError: Output = .inherit
  ) throws(SystemError) {
    let id = try Self.spawn(
      executable: executable, arguments: arguments,
      environment: environment.map { $0.map { "\($0.key)=\($0.value)" }.sorted() },
      input: standardInput, outputs: (standardOutput, standardError))
    let raw = pidfd_open(id, 0)
    guard raw >= 0 else {
      let error = SystemError("pidfd_open of \(executable)")
      Self.killAndReap(id)
      throw error
    }
    self.id = id
    self.exitDescriptor = FileDescriptor(owning: raw)
  }

  deinit {
    if exitStatus == nil { Self.killAndReap(id) }
  }

  /// Sends a signal to the child alone. Does nothing once the child was reaped; a child that has
  /// ended but was not reaped takes signals without effect.
  package func send(signal: Int32) {
    if exitStatus == nil { _ = Glibc.kill(id, signal) }
  }

  /// Waits at most `timeout` for the end of the child and reaps it. nil: it still runs. Blocks in
  /// poll(2) on the child's descriptor: wakes the moment the child ends, and never spins.
  package mutating func wait(atMost timeout: Duration) throws(SystemError) -> ExitStatus? {
    if let exitStatus { return exitStatus }
    let deadline = Clock.monotonic().nanoseconds + max(timeout.nanoseconds, 0)
    while true {
      let left = max(deadline - Clock.monotonic().nanoseconds, 0)
      var limit = timespec(tv_sec: Int(left / 1_000_000_000), tv_nsec: Int(left % 1_000_000_000))
      var descriptor = pollfd(fd: exitDescriptor.raw, events: Int16(POLLIN), revents: 0)
      let count = unsafe ppoll(&descriptor, 1, &limit, nil)
      if count < 0 && errno != EINTR { throw SystemError("ppoll on a child process") }
      if count > 0 { return try reap() }
      if count == 0 && left == 0 { return nil }
    }
  }

  /// Asks with `signal`, waits, and kills what has not ended in time. The exit status tells which:
  /// `.killed(signal: SIGKILL)` after another signal means that the time was not enough.
  package mutating func stop(
    signal: Int32 = SIGTERM, atMost timeout: Duration
  ) throws(SystemError) -> ExitStatus {
    send(signal: signal)
    if let status = try wait(atMost: timeout) { return status }
    return try kill()
  }

  /// SIGKILL, and reaps. The child runs no further instruction of its own once this has returned.
  @discardableResult
  package mutating func kill() throws(SystemError) -> ExitStatus {
    send(signal: SIGKILL)
    if let exitStatus { return exitStatus }
    return try reap()
  }

  /// waitpid(2), blocking: only for a child that has ended or was sent SIGKILL.
  private mutating func reap() throws(SystemError) -> ExitStatus {
    let status = try Self.waitForExit(id)
    exitStatus = status
    return status
  }

  private static func waitForExit(_ id: pid_t) throws(SystemError) -> ExitStatus {
    var status: Int32 = 0
    while unsafe waitpid(id, &status, 0) < 0 {
      if errno != EINTR { throw SystemError("waitpid \(id)") }
    }
    // The macros WIFEXITED and WEXITSTATUS in words (wait(2), Linux).
    let signal = status & 0x7f
    return signal == 0 ? .exited(code: status >> 8 & 0xff) : .killed(signal: signal)
  }

  private static func killAndReap(_ id: pid_t) {
    _ = Glibc.kill(-id, SIGKILL)
    _ = Glibc.kill(id, SIGKILL)
    _ = try? waitForExit(id)
  }
}

// posix_spawn itself: everything with pointers.
extension ChildProcess {
  private static func spawn(
    executable: String, arguments: [String], environment: [String]?, input: String,
    outputs: (Output, Output)
  ) throws(SystemError) -> pid_t {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY | O_NOCTTY, 0)
    for (number, output) in [(Int32(1), outputs.0), (Int32(2), outputs.1)] {
      switch output {
      case .inherit: break
      case .discard:
        unsafe posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_WRONLY, 0)
      case .file(let path):
        unsafe posix_spawn_file_actions_addopen(
          &actions, number, path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY, 0o600)
      }
    }
    unsafe posix_spawn_file_actions_addclosefrom_np(&actions, 3)

    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    unsafe sigemptyset(&signals)
    unsafe posix_spawnattr_setsigmask(&attributes, &signals)
    unsafe sigfillset(&signals)
    unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
    unsafe posix_spawnattr_setpgroup(&attributes, 0)
    let flags = POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK
    unsafe posix_spawnattr_setflags(&attributes, Int16(flags))

    var id: pid_t = 0
    let code = unsafe withCStringArray([executable] + arguments) { argv in
      if let environment {
        return unsafe withCStringArray(environment) { envp in
          unsafe posix_spawn(&id, executable, &actions, &attributes, argv, envp)
        }
      }
      return unsafe posix_spawn(&id, executable, &actions, &attributes, argv, environ)
    }
    guard code == 0 else { throw SystemError("start \(executable)", code: code) }
    return id
  }

  /// Lends a null-terminated array of C strings for one call.
  private static func withCStringArray<Result>(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    var pointers: [UnsafeMutablePointer<CChar>?] = unsafe strings.map { text in unsafe strdup(text)
    }
    defer { while let pointer = unsafe pointers.popLast() { unsafe free(pointer) } }
    unsafe pointers.append(nil)
    return unsafe pointers.withUnsafeBufferPointer { buffer in
      guard let base = buffer.baseAddress else {
        preconditionFailure("an array with a terminator has a first element")
      }
      return unsafe body(base)
    }
  }
}
