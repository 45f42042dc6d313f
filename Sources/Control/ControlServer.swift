import GatewayCore
package import Logging
package import Platform
import ServiceLifecycle
import Synchronization

/// Listens on the control socket until graceful shutdown, on one thread of its own.
///
/// The data path does not depend on it: where the socket cannot be made, as on a disk that is
/// mounted read-only, it says so once, tries again every `retryDelay`, and the gateway goes on.
///
/// Limits: `ControlSocket`. A client that is slow, silent or talks too much loses its connection
/// and holds up nobody: nothing here blocks but the poll.
package final class ControlServer: Service {
  package static let turn: Duration = .seconds(2)

  private let path: String
  private let handler: any ControlHandler
  private let logger: Logger
  private let patience: Duration
  private let retryDelay: Duration
  private let wakeUp: WakeUp
  private let isEnding = Atomic(false)

  package init(
    path: String, handler: any ControlHandler, logger: Logger,
    patience: Duration = ControlSocket.patience, retryDelay: Duration = .seconds(10)
  ) throws(SystemError) {
    self.path = path
    self.handler = handler
    self.logger = logger
    self.patience = patience
    self.retryDelay = retryDelay
    wakeUp = try WakeUp()
  }

  package func run() async throws {
    try await withTaskCancellationHandler {
      try await withGracefulShutdownHandler {
        try await Thread.run(name: "control") { self.serve() }
      } onGracefulShutdown: {
        self.end()
      }
    } onCancel: {
      end()
    }
  }

  private func end() {
    isEnding.store(true, ordering: .releasing)
    wakeUp.signal()
  }

  private var isWanted: Bool { !isEnding.load(ordering: .acquiring) }

  // MARK: - The control thread

  private func serve() {
    var saidSo = false
    var retryAt = Clock.monotonic()
    while isWanted {
      if Clock.monotonic() >= retryAt {
        do throws(SystemError) {
          let listener = try UnixListener(path: path)
          logger.debug("control socket open", metadata: ["path": "\(path)"])
          saidSo = false
          return serve(listener)
        } catch {
          if !saidSo {
            logger.warning(
              "the control socket cannot be made: status, drain and resend do not reach this agent",
              metadata: ["error": "\(error)", "advice": "\(advice(error))"])
          }
          saidSo = true
          retryAt = Clock.monotonic() + retryDelay
        }
      }
      handler.observe()
      if Poll.wait(socket: nil, wakeUp: wakeUp, timeout: Self.turn).wokenUp { wakeUp.clear() }
    }
  }

  private func serve(_ listener: consuming UnixListener) {
    var clients: [ControlConnection] = []
    var observeAt = Clock.monotonic()
    var acceptAt = observeAt
    while isWanted {
      let now = Clock.monotonic()
      if now >= observeAt {
        handler.observe()
        observeAt = now + Self.turn
      }
      var interests = [Poll.Interest(listener.pollDescriptor, forReading: now >= acceptAt)]
      interests += clients.map(\.interest)
      let next = clients.reduce(observeAt) { min($0, $1.deadline) }
      let isWoken = Poll.wait(
        &interests, wakeUp: wakeUp, timeout: max(.zero, next.since(Clock.monotonic())))
      if isWoken { wakeUp.clear() }
      let then = Clock.monotonic()
      for (client, interest) in zip(clients, interests.dropFirst()) {
        client.turn(isReady: interest.isReady, now: then, answer: answer)
      }
      clients.removeAll { $0.isEnded }
      if interests[0].isReady, !accept(listener, &clients, now: then) {
        // No descriptor is free: to ask again at once would be a tight loop.
        acceptAt = then + .seconds(1)
      }
    }
  }

  /// - Returns: false when there is nothing to accept with.
  private func accept(
    _ listener: borrowing UnixListener, _ clients: inout [ControlConnection], now: MonotonicTime
  ) -> Bool {
    do throws(SystemError) {
      while let stream = try listener.accept() {
        // One too many is closed by letting it go.
        guard clients.count < ControlSocket.clientsMax else { continue }
        clients.append(ControlConnection(stream, patience: patience, now: now))
      }
      return true
    } catch {
      logger.debug("cannot accept a control client", metadata: ["error": "\(error)"])
      return false
    }
  }

  private func answer(_ line: Span<UInt8>) -> JSONValue {
    do throws(ControlRefusal) {
      return try handler.answer(try ControlRequest(line))
    } catch {
      return error.json
    }
  }

  private func advice(_ error: SystemError) -> String {
    error.isAddressInUse
      ? "another agent uses this data directory; stop one of them"
      : "check the data directory's owner, mode and free space"
  }
}

/// One client: a request is collected, answered, and the answer written, over and over. On the
/// control thread only.
final class ControlConnection {
  private let stream: UnixStream
  private let patience: Duration
  private var request: [UInt8] = []
  private var answer: ArraySlice<UInt8> = []
  private(set) var deadline: MonotonicTime
  private(set) var isEnded = false

  init(_ stream: consuming UnixStream, patience: Duration, now: MonotonicTime) {
    self.stream = stream
    self.patience = patience
    deadline = now + patience
  }

  var interest: Poll.Interest {
    Poll.Interest(
      stream.pollDescriptor, forReading: answer.isEmpty, forWriting: !answer.isEmpty)
  }

  func turn(isReady: Bool, now: MonotonicTime, answer makeAnswer: (Span<UInt8>) -> JSONValue) {
    guard isReady || now >= deadline else { return }
    do throws(SystemError) {
      if isReady {
        if answer.isEmpty { try read(now, makeAnswer) }
        try write(now)
      }
    } catch {
      isEnded = true
    }
    if now >= deadline { isEnded = true }
  }

  private func read(
    _ now: MonotonicTime, _ makeAnswer: (Span<UInt8>) -> JSONValue
  ) throws(SystemError) {
    var chunk = [UInt8](repeating: 0, count: ControlSocket.requestByteCountMax)
    guard let count = try stream.read(into: &chunk) else { return }
    guard count > 0 else {
      isEnded = true
      return
    }
    request += chunk[..<count]
    guard let end = request.firstIndex(of: UInt8(ascii: "\n")) else {
      if request.count >= ControlSocket.requestByteCountMax { isEnded = true }
      return
    }
    // One at a time: whoever writes ahead of the answer is told so by the end.
    guard end == request.count - 1 else {
      isEnded = true
      return
    }
    var line: [UInt8] = []
    makeAnswer(request.span.extracting(first: end)).append(to: &line)
    line.append(UInt8(ascii: "\n"))
    answer = line[...]
    request = []
    deadline = now + patience
  }

  private func write(_ now: MonotonicTime) throws(SystemError) {
    while !answer.isEmpty {
      let count = try stream.write(answer)
      if count == 0 { return }
      answer = answer.dropFirst(count)
      if answer.isEmpty { deadline = now + patience }
    }
  }
}
