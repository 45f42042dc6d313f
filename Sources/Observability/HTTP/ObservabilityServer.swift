import GatewayCore
package import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import ServiceLifecycle
import Synchronization

/// Serves `/metrics`, `/healthz` and `/` over HTTP/1.1 until graceful shutdown.
///
/// The data path does not depend on this page: when the address cannot be bound, the server says so
/// once and tries again every `retryDelay`, and the gateway goes on carrying messages.
///
/// Limits: `connectionsMax` at a time (more are closed at once), `requestByteCountMax` per request,
/// `requestTimeMax` from the end of one answer to the end of the next.
package final class ObservabilityServer: Service {
  package static let connectionsMax = 16
  package static let requestByteCountMax = 8192

  private let address: ListenAddress
  private let pages: ObservabilityPages
  private let logger: Logger
  private let requestTimeMax: Duration
  private let retryDelay: Duration
  private let onBound: @Sendable (ListenAddress) -> Void

  /// `onBound` hears the actual address, once: the way to learn the port when `address.port` is 0.
  package init(
    address: ListenAddress, pages: ObservabilityPages, logger: Logger,
    requestTimeMax: Duration = .seconds(5), retryDelay: Duration = .seconds(10),
    onBound: @escaping @Sendable (ListenAddress) -> Void = { _ in }
  ) {
    self.address = address
    self.pages = pages
    self.logger = logger
    self.requestTimeMax = requestTimeMax
    self.retryDelay = retryDelay
    self.onBound = onBound
  }

  package func run() async throws {
    // One thread is plenty for a scrape now and then; the shared group would start one per core.
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    do {
      try await cancelWhenGracefulShutdown { try await self.serve(on: group) }
    } catch is CancellationError {
      // The wait was ended by the shutdown: the way out of a server.
    }
    // Closes whatever connection is left.
    try? await group.shutdownGracefully()
  }

  private func serve(on group: MultiThreadedEventLoopGroup) async throws {
    let channel = try await bindWithRetry(on: group)
    let bound = ListenAddress(
      host: channel.localAddress?.ipAddress ?? address.host,
      port: UInt16(channel.localAddress?.port ?? Int(address.port)))
    logger.info("serving metrics and health", metadata: ["address": "\(bound)"])
    onBound(bound)
    try await withTaskCancellationHandler {
      try await channel.closeFuture.get()
    } onCancel: {
      channel.close(promise: nil)
    }
  }

  private func bindWithRetry(on group: MultiThreadedEventLoopGroup) async throws -> any Channel {
    var saidSo = false
    while true {
      try Task.checkCancellation()
      do throws(ObservabilityError) {
        return try await bind(on: group)
      } catch {
        if !saidSo {
          logger.error(
            "metrics and health are not served; trying again", metadata: ["reason": "\(error)"])
        }
        saidSo = true
      }
      try await Task.sleep(for: retryDelay)
    }
  }

  private func bind(
    on group: MultiThreadedEventLoopGroup
  ) async throws(ObservabilityError) -> any Channel {
    let connections = ConnectionCount()
    let pages = self.pages
    let timeLimit = TimeAmount.nanoseconds(requestTimeMax.nanoseconds)
    do {
      return try await ServerBootstrap(group: group)
        .serverChannelOption(.backlog, value: 16)
        .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
        .childChannelOption(.maxMessagesPerRead, value: 1)
        .childChannelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            guard connections.admit(channel) else {
              channel.close(promise: nil)
              return
            }
            let pipeline = channel.pipeline.syncOperations
            try pipeline.addHandler(RequestLimit(timeLimit: timeLimit))
            try pipeline.configureHTTPServerPipeline(
              withPipeliningAssistance: true, withErrorHandling: true)
            try pipeline.addHandler(PageHandler(pages: pages))
          }
        }
        .bind(host: address.host, port: Int(address.port)).get()
    } catch {
      throw ObservabilityError(
        code: .listen,
        description: "cannot listen on \(address): \(error). "
          + "Stop what uses the port or change observability.listen.")
    }
  }
}

/// Open connections; at most `connectionsMax`.
private final class ConnectionCount: Sendable {
  private let count = Mutex(0)

  func admit(_ channel: any Channel) -> Bool {
    let admitted = count.withLock { count in
      guard count < ObservabilityServer.connectionsMax else { return false }
      count += 1
      return true
    }
    if admitted {
      channel.closeFuture.whenComplete { _ in self.count.withLock { $0 -= 1 } }
    }
    return admitted
  }
}
