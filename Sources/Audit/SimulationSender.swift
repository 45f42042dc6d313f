import GatewayCore
import Logging
import Mosquitto
import Platform
import PumpTelemetry

/// One connection of a simulation with the pumps that speak over it. Lives on its own thread.
final class SimulationSender: MosquittoHandler {
  /// Waits at least this long for the schedule, so that a high rate goes out in groups.
  private static let tick = Duration.milliseconds(1)
  private static let housekeeping = Duration.seconds(1)
  private static let pauseMin = Duration.milliseconds(50)
  private static let pauseMax = Duration.seconds(2)

  private let simulation: Simulation
  private let index: Int
  private let options: SimulationOptions
  private let observer: (any SimulationObserver)?
  private let start: MonotonicTime
  private let wakeUp: WakeUp

  private var fleet: PumpFleet
  private var schedule: Schedule
  /// Those of `fleet`, by place.
  private let plan: FleetPlan
  private var commands = PumpCommandReader()
  /// Came in the last read.
  private var heard: [(topic: String, payload: [UInt8])] = []
  /// Wait behind what must be sent again.
  private var confirmations: [SimulationOutbox.Message] = []
  private var needsSubscription = false
  private var outbox = SimulationOutbox(recentMax: Schedule.repeatReachMax)
  private var counts = SimulationCounts()
  /// New messages this connection may still make; nil: no limit.
  private var freshLeft: UInt64?
  private var window = 0
  private var wasAccepted = false
  private var isEnding = false
  private var payload: [UInt8] = []

  init(
    simulation: Simulation, index: Int, options: SimulationOptions,
    observer: (any SimulationObserver)?, start: MonotonicTime
  ) {
    self.simulation = simulation
    self.index = index
    self.options = options
    self.observer = observer
    self.start = start
    wakeUp = simulation.stopSignal(of: index)
    let connections = options.connectionCount
    let plan = options.plan.part(index, of: connections)
    self.plan = plan
    let pumpCount = Double(options.pumpCount)
    fleet = PumpFleet(
      plan: plan, seed: options.seed, run: options.run,
      interval: options.rate.map { .seconds(pumpCount * (1 + options.repeatShare) / $0) } ?? .zero,
      commandAgeMax: options.commandAgeMax)
    schedule = Schedule(
      pumps: Array(plan.pumps.indices),
      rate: options.rate.map { $0 * Double(plan.pumps.count) / pumpCount },
      repeatShare: options.repeatShare, announces: options.announces,
      seed: options.seed &+ UInt64(index), plans: plan.pumps)
    freshLeft = options.count.map { count in
      count / UInt64(connections) + (UInt64(index) < count % UInt64(connections) ? 1 : 0)
    }
  }

  /// Runs to the end; the error when the broker could not be reached or stayed away too long.
  func run() -> MosquittoError? {
    var connection = options.connection
    connection.clientID += "-\(index + 1)"
    connection.cleanStart = true
    connection.sessionExpiry = .zero
    var client = MosquittoClient(
      options: connection, handler: self, logger: Logger(label: "penstock.simulate"))
    var endpoint = 0
    var awaySince: MonotonicTime?
    var pause = Self.pauseMin
    var stopTime: MonotonicTime?
    while true {
      let now = Clock.monotonic()
      if stopTime == nil && !isProducing(now) { stopTime = now }
      if let stopTime, isDone || now.since(stopTime) >= options.drainLimit { break }
      do throws(MosquittoError) {
        if client.socket == nil { try client.connect(endpoint: endpoint) }
        try turn(&client, isProducing: stopTime == nil)
        if client.isAccepted {
          awaySince = nil
          pause = Self.pauseMin
        }
      } catch {
        answerCommands()
        // Without a connection this only sets the count back.
        try? client.releaseAcknowledgements(committed: client.heldAcknowledgements)
        guard wasAccepted else { return error }
        let since = awaySince ?? now
        awaySince = since
        if now.since(since) >= options.patience { return error }
        endpoint = (endpoint + 1) % connection.endpoints.count
        rest(pause)
        pause = min(pause * 2, Self.pauseMax)
      }
      report()
    }
    report()
    isEnding = true
    // What the broker did not acknowledge is counted; nothing is left to do about it.
    try? client.disconnect()
    return nil
  }

  private var isDone: Bool { outbox.isEmpty && confirmations.isEmpty }

  private func isProducing(_ now: MonotonicTime) -> Bool {
    if simulation.isAskedToStop || freshLeft == 0 || schedule.nextDue == nil { return false }
    if let duration = options.duration { return now.since(start) < duration }
    return true
  }

  /// One turn of the loop: send what is due, wait, read the answers.
  private func turn(
    _ client: inout MosquittoClient<SimulationSender>, isProducing: Bool
  ) throws(MosquittoError) {
    if client.isAccepted {
      try release(&client)
      try subscribe(&client)
      try fill(&client, isProducing: isProducing)
    }
    if client.wantsWrite { try client.flush() }
    let ready = Poll.wait(
      socket: client.socket, forWriting: client.wantsWrite, wakeUp: wakeUp,
      timeout: timeout(isAccepted: client.isAccepted, isProducing: isProducing))
    if ready.wokenUp { wakeUp.clear() }
    if ready.socketReadable {
      while try client.readUntilDry(limit: options.window) {
        try release(&client)
      }
      try release(&client)
    }
    try client.misc()
  }

  private func timeout(isAccepted: Bool, isProducing: Bool) -> Duration {
    let now = Clock.monotonic()
    var limit = Self.housekeeping
    if isProducing, let duration = options.duration {
      limit = min(limit, duration - now.since(start))
    }
    if isAccepted && isProducing && outbox.inFlightCount < window, let due = schedule.nextDue {
      limit = min(limit, due - now.since(start))
    }
    return max(limit, Self.tick)
  }

  /// Publishes until the window is full or nothing is due: first what an earlier connection left.
  private func fill(
    _ client: inout MosquittoClient<SimulationSender>, isProducing: Bool
  ) throws(MosquittoError) {
    let elapsed = Clock.monotonic().since(start)
    while outbox.inFlightCount < window {
      if !outbox.hasWaiting {
        if !confirmations.isEmpty {
          outbox.add(confirmation: confirmations.removeFirst())
        } else {
          guard isProducing && freshLeft != 0, let due = schedule.nextDue, due <= elapsed
          else { return }
          make(schedule.next(at: elapsed))
        }
      }
      guard let send = outbox.next else { return }
      observer?.willSend(
        topic: send.message.topic, id: send.message.id, payload: send.message.payload.span)
      do throws(MosquittoError) {
        let mid = try client.publish(
          topic: send.message.topic, payload: send.message.payload.span)
        outbox.published(mid: mid)
      } catch {
        guard error.code == .packetTooLarge || error.code == .invalidArgument else { throw error }
        outbox.dropNext()
        counts.failed += 1
        counts.lastRefusal = .packetTooLarge
      }
    }
  }

  private func make(_ step: Schedule.Step) {
    switch step {
    case .event(let kind, let pump):
      payload.removeAll(keepingCapacity: true)
      let counter = fleet.appendEvent(kind, pump: pump, at: Clock.wall(), to: &payload)
      if options.noteByteCount > 0, counter.isMultiple(of: 8) { appendNote() }
      outbox.add(
        SimulationOutbox.Message(
          topic: fleet.topic(of: kind, pump: pump),
          id: fleet.messageID(pump: pump, counter: counter), payload: payload))
      if let left = freshLeft { freshLeft = left - 1 }
      counts.sent += 1
    case .again(let back):
      outbox.addAgain(back: back)
      counts.repeated += 1
    }
  }

  // MARK: Commands

  /// Above so many pumps one wildcard stands for all of them, and for other simulators' too.
  private static let exactFiltersMax = 1000

  private func subscribe(
    _ client: inout MosquittoClient<SimulationSender>
  ) throws(MosquittoError) {
    guard needsSubscription else { return }
    needsSubscription = false
    let filters =
      fleet.count > Self.exactFiltersMax
      ? ["pumps/+/commands"] : (0..<fleet.count).map { fleet.commandTopic(pump: $0) }
    _ = try client.subscribe(filters)
  }

  /// Answers what was read and lets its PUBACKs go.
  private func release(_ client: inout MosquittoClient<SimulationSender>) throws(MosquittoError) {
    answerCommands()
    guard client.heldAcknowledgements > 0 else { return }
    try client.releaseAcknowledgements(committed: client.heldAcknowledgements)
  }

  private func answerCommands() {
    for command in heard { answer(command.topic, command.payload) }
    heard.removeAll(keepingCapacity: true)
  }

  private func answer(_ topic: String, _ command: [UInt8]) {
    guard let pump = fleet.pump(hearing: topic),
      confirmations.count < SimulationOptions.confirmationsMax
    else {
      counts.commandsUnheard += 1
      return
    }
    payload.removeAll(keepingCapacity: true)
    let answer = fleet.obey(
      command.span, pump: pump, at: Clock.wall(), reader: &commands, to: &payload)
    if let rate = answer.newRate {
      schedule.setRate(rate, ofPump: pump, at: Clock.monotonic().since(start))
    }
    switch answer.outcome {
    case .done: counts.commands += 1
    case .repeated: counts.commandsRepeated += 1
    case .refused: counts.commandsRefused += 1
    }
    confirmations.append(
      SimulationOutbox.Message(
        topic: fleet.confirmationTopic(pump: pump),
        id: fleet.messageID(pump: pump, counter: answer.counter), payload: payload))
  }

  /// One more member of the event that `payload` holds.
  private func appendNote() {
    payload.removeLast()
    payload += ",\"note\":\"".utf8
    payload += repeatElement(UInt8(ascii: "x"), count: options.noteByteCount)
    payload += "\"}".utf8
  }

  private func rest(_ pause: Duration) {
    let ready = Poll.wait(socket: nil, wakeUp: wakeUp, timeout: pause)
    if ready.wokenUp { wakeUp.clear() }
  }

  private func report() {
    counts.outstanding = UInt64(outbox.count + confirmations.count)
    simulation.report(counts, of: index)
  }

  // MARK: MosquittoHandler

  func connected(_ acknowledgement: ConnectAcknowledgement) {
    guard !acknowledgement.reason.isFailure else { return }
    wasAccepted = true
    needsSubscription = options.obeysCommands
    window = min(options.window, Int(acknowledgement.receiveMaximum))
  }

  func disconnected(_ reason: ReasonCode?) {
    counts.listening = 0
    if isEnding { return }
    counts.resent += UInt64(outbox.connectionLost())
    if window > 0 { counts.connectionsLost += 1 }
    window = 0
  }

  func published(mid: Int32, reason: ReasonCode) {
    guard let send = outbox.acknowledged(mid: mid) else { return }
    if reason.isFailure {
      counts.failed += 1
      counts.lastRefusal = reason
    } else if reason == .noMatchingSubscribers {
      counts.unheard += 1
    } else {
      switch send.kind {
      case .event: counts.acknowledged += 1
      case .confirmation: counts.confirmations += 1
      case .again: break
      }
      observer?.acknowledged(topic: send.message.topic, id: send.message.id)
    }
  }

  func received(
    _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
  ) {
    // Too long for a command is all that has to be known of it.
    let end = min(payload.count, PumpCommandReader.payloadByteCountMax + 1)
    var bytes: [UInt8] = []
    bytes.append(payload.extracting(first: end))
    heard.append((String(decoding: topic), bytes))
  }

  func subscribed(mid: Int32, granted: [ReasonCode]) {
    if let refusal = granted.first(where: \.isFailure) {
      counts.deafness = refusal
    } else {
      counts.listening = 1
    }
  }

  func unsubscribed(mid: Int32) {}
}
