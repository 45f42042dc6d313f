import Logging
import ServiceLifecycle
import Synchronization

/// Services that come and go while the process runs, each under a name. Runs until shutdown, which
/// reaches all of them at once; an error of one ends all, except where its starter contains it.
final class Fleet: Service {
  /// Started and not yet taken up by `run`: routes and their brokers' helpers, and some.
  private static let arrivalsMax = 256

  private struct Member: Sendable {
    let name: String
    let group: ServiceGroup
    let contain: @Sendable (any Error) -> Bool
    /// Finished when the service has ended.
    let ended: AsyncStream<Void>
    let end: AsyncStream<Void>.Continuation
  }

  private let logger: Logger
  private let members = Mutex<[String: Member]>([:])
  private let arrivals: AsyncStream<Member>
  private let arrive: AsyncStream<Member>.Continuation

  init(logger: Logger) {
    self.logger = logger
    (arrivals, arrive) = AsyncStream.makeStream(
      of: Member.self, bufferingPolicy: .bufferingOldest(Self.arrivalsMax))
  }

  /// - Parameter contain: gets an error of the service and says whether it stays without further
  ///   consequences.
  func start(
    _ name: String, _ service: any Service,
    contain: @escaping @Sendable (any Error) -> Bool = { _ in false }
  ) {
    let configuration = ServiceGroupConfiguration(
      services: [
        .init(
          service: service, successTerminationBehavior: .gracefullyShutdownGroup, serviceName: name)
      ], logger: logger)
    let (ended, end) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    let member = Member(
      name: name, group: ServiceGroup(configuration: configuration), contain: contain,
      ended: ended, end: end)
    members.withLock { members in
      precondition(members[name] == nil, "a service is stopped before its name is used again")
      members[name] = member
    }
    // After a shutdown nobody takes it up any more.
    if case .enqueued = arrive.yield(member) { return }
    forget(member)
  }

  /// Whether a service of this name was started and has not ended.
  func contains(_ name: String) -> Bool { members.withLock { $0[name] != nil } }

  /// Asks for a graceful end and waits for it. Nothing to do when there is no such service.
  func stop(_ name: String) async {
    guard let member = members.withLock({ $0[name] }) else { return }
    await member.group.triggerGracefulShutdown()
    for await _ in member.ended {}
  }

  func run() async throws {
    try await withThrowingDiscardingTaskGroup { group in
      await withGracefulShutdownHandler {
        for await member in arrivals { group.addTask { try await self.run(member) } }
      } onGracefulShutdown: {
        self.arrive.finish()
      }
    }
  }

  private func run(_ member: Member) async throws {
    defer { forget(member) }
    do {
      try await member.group.run()
    } catch {
      if member.contain(error) { return }
      // The others are cancelled when this task has thrown, and nobody new comes.
      arrive.finish()
      throw error
    }
  }

  private func forget(_ member: Member) {
    members.withLock { $0[member.name] = nil }
    member.end.finish()
  }
}
