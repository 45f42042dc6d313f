import NIOCore
import NIOHTTP1

/// Closes a connection that sends too much or too slowly, before anything is parsed.
///
/// One deadline covers idling, a request that trickles in and an answer nobody reads: from the
/// start, or the end of the last answer, to the end of the next. Lives on one event loop.
final class RequestLimit: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer

  private let timeLimit: TimeAmount
  private var byteCount = 0
  private var deadline: Scheduled<Void>?

  init(timeLimit: TimeAmount) { self.timeLimit = timeLimit }

  /// Sent down the pipeline by the page handler when an answer has been written out.
  struct Answered: Sendable {}

  func handlerAdded(context: ChannelHandlerContext) { restart(context: context) }

  func handlerRemoved(context: ChannelHandlerContext) { deadline?.cancel() }

  func channelInactive(context: ChannelHandlerContext) {
    deadline?.cancel()
    context.fireChannelInactive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    byteCount += unwrapInboundIn(data).readableBytes
    if byteCount > ObservabilityServer.requestByteCountMax {
      context.close(promise: nil)
    } else {
      context.fireChannelRead(data)
    }
  }

  func triggerUserOutboundEvent(
    context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?
  ) {
    if event is Answered {
      byteCount = 0
      restart(context: context)
      promise?.succeed(())
    } else {
      context.triggerUserOutboundEvent(event, promise: promise)
    }
  }

  private func restart(context: ChannelHandlerContext) {
    deadline?.cancel()
    let channel = context.channel
    deadline = context.eventLoop.scheduleTask(in: timeLimit) { channel.close(promise: nil) }
  }
}

/// Answers each request with its page.
final class PageHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private let pages: ObservabilityPages
  private var request: HTTPRequestHead?

  init(pages: ObservabilityPages) { self.pages = pages }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head): request = head
    case .body: break  // nothing here takes one; RequestLimit bounds it
    case .end:
      if let request { answer(request, context: context) }
      request = nil
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }

  private func answer(_ request: HTTPRequestHead, context: ChannelHandlerContext) {
    let page = pages.page(method: request.method.rawValue, target: request.uri)
    let keepAlive = request.isKeepAlive
    var headers = HTTPHeaders([
      ("content-type", page.contentType), ("content-length", String(page.body.count)),
      ("cache-control", "no-store"), ("x-content-type-options", "nosniff"),
    ])
    if page.status == 405 { headers.add(name: "allow", value: "GET, HEAD") }
    if !keepAlive { headers.add(name: "connection", value: "close") }
    let head = HTTPResponseHead(
      version: request.version, status: HTTPResponseStatus(statusCode: page.status),
      headers: headers)
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    if request.method != .HEAD {
      let body = context.channel.allocator.buffer(bytes: page.body)
      context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
    }
    let channel = context.channel
    context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { result in
      if case .success = result, keepAlive {
        channel.triggerUserOutboundEvent(RequestLimit.Answered(), promise: nil)
      } else {
        channel.close(promise: nil)
      }
    }
  }
}
