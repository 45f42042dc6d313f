import GatewayCore
package import Platform

/// The command's side of the control socket: one connection, question by question. Blocks for at
/// most `patience` per question.
package struct ControlClient: ~Copyable {
  private let stream: UnixStream
  private let path: String
  private let never: WakeUp

  /// - Throws: `SystemError`: ENOENT and ECONNREFUSED when no agent listens there, EACCES for
  ///   another user's.
  package init(path: String) throws(SystemError) {
    let never = try WakeUp()
    stream = try UnixStream(connecting: path)
    self.path = path
    self.never = never
  }

  /// - Throws: `SystemError` when the agent went away or does not answer; `ControlRefusal` when it
  ///   says no.
  package func ask(_ request: ControlRequest) throws -> JSONValue {
    let deadline = Clock.monotonic() + ControlSocket.patience
    var line: [UInt8] = []
    request.json.append(to: &line)
    line.append(UInt8(ascii: "\n"))
    var rest = line[...]
    while !rest.isEmpty {
      let count = try stream.write(rest)
      rest = rest.dropFirst(count)
      if count == 0 { try wait(forWriting: true, until: deadline) }
    }
    let answer = try readLine(until: deadline)
    guard let json = JSONValue(answer.span) else {
      throw ControlRefusal("\(path) is not a control socket of penstock")
    }
    if let error = json["error"]?.string { throw ControlRefusal(error) }
    return json
  }

  private func readLine(until deadline: MonotonicTime) throws(SystemError) -> [UInt8] {
    var line: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while line.count < ControlSocket.answerByteCountMax {
      guard let count = try stream.read(into: &chunk) else {
        try wait(forWriting: false, until: deadline)
        continue
      }
      // It closes at once when it has too many clients, or is ending.
      if count == 0 { throw SystemError("read \(path)", code: SystemError.connectionReset) }
      line += chunk[..<count]
      if line.last == UInt8(ascii: "\n") { return Array(line.dropLast()) }
    }
    throw SystemError("read \(path)", code: SystemError.messageTooLong)
  }

  private func wait(forWriting: Bool, until deadline: MonotonicTime) throws(SystemError) {
    let rest = deadline.since(Clock.monotonic())
    guard rest > .zero else { throw SystemError("ask \(path)", code: SystemError.timedOut) }
    var interests = [
      Poll.Interest(stream.pollDescriptor, forReading: !forWriting, forWriting: forWriting)
    ]
    _ = Poll.wait(&interests, wakeUp: never, timeout: rest)
  }
}
