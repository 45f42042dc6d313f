// The C callbacks of libmosquitto, all of them, and the object they find their way by.
//
// Ownership: libmosquitto holds the context as an unretained pointer (`mosquitto_new`'s `obj`). The
// `LibraryHandle` holds it strongly and destroys the C handle before it lets go, so no callback can
// outlive it. Thread: libmosquitto has no thread of its own here (no `loop_start`), so every
// callback runs on the owner's thread, inside one of the owner's calls.

import CMosquitto
import GatewayCore
import Glibc

/// What the callbacks write to. Not generic, because a C function pointer cannot be; the subclass
/// knows the handler's type, so that each event costs one virtual call and no box.
class CallbackContext {
  /// QoS 1 messages received since the last release: their PUBACKs are in the library's queue.
  var heldAcknowledgements = 0
  /// Callbacks so far, of any kind: whether a read brought something.
  var eventCount = 0
  /// PUBLISHes so far.
  var messageCount = 0
  /// Whether CONNACK accepted, and what a refusal said.
  var isAccepted = false
  var refusal: ReasonCode?
  /// What the broker's CONNACK says about it.
  var serverKeepAlive: Duration?
  /// From a DISCONNECT of the broker.
  var disconnectReason: ReasonCode?
  /// The library's last complaint while connecting: OpenSSL's reasons are nowhere else.
  var complaint = ""
  var protocolVersion = ProtocolVersion.v5
  /// Properties of the message being delivered; reused.
  var scratch: [UInt8] = []

  func startConnection(_ version: ProtocolVersion) {
    heldAcknowledgements = 0
    isAccepted = false
    refusal = nil
    serverKeepAlive = nil
    disconnectReason = nil
    complaint = ""
    protocolVersion = version
  }

  func connected(_ acknowledgement: ConnectAcknowledgement) {}
  func received(
    _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
  ) {}
  func subscribed(mid: Int32, granted: [ReasonCode]) {}
  func unsubscribed(mid: Int32) {}
  func published(mid: Int32, reason: ReasonCode) {}
  func disconnected(_ reason: ReasonCode?) {}
}

/// Passes the events on to one handler.
final class HandlerContext<Handler: MosquittoHandler>: CallbackContext {
  let handler: Handler

  init(_ handler: Handler) { self.handler = handler }

  override func connected(_ acknowledgement: ConnectAcknowledgement) {
    handler.connected(acknowledgement)
  }
  override func received(
    _ header: MessageHeader, topic: Span<UInt8>, payload: Span<UInt8>, properties: Span<UInt8>
  ) {
    handler.received(header, topic: topic, payload: payload, properties: properties)
  }
  override func subscribed(mid: Int32, granted: [ReasonCode]) {
    handler.subscribed(mid: mid, granted: granted)
  }
  override func unsubscribed(mid: Int32) { handler.unsubscribed(mid: mid) }
  override func published(mid: Int32, reason: ReasonCode) {
    handler.published(mid: mid, reason: reason)
  }
  override func disconnected(_ reason: ReasonCode?) { handler.disconnected(reason) }
}

/// Registers the callbacks. Once per handle.
func setCallbacks(of handle: OpaquePointer) {
  unsafe mosquitto_connect_v5_callback_set(handle, onConnect)
  unsafe mosquitto_disconnect_v5_callback_set(handle, onDisconnect)
  unsafe mosquitto_message_v5_callback_set(handle, onMessage)
  unsafe mosquitto_subscribe_v5_callback_set(handle, onSubscribe)
  unsafe mosquitto_unsubscribe_v5_callback_set(handle, onUnsubscribe)
  unsafe mosquitto_publish_v5_callback_set(handle, onPublish)
  unsafe setLogCallback(of: handle, isOn: true)
}

/// With a log callback the library formats a line per packet, so it is on only until CONNACK.
func setLogCallback(of handle: OpaquePointer, isOn: Bool) {
  unsafe mosquitto_log_callback_set(handle, isOn ? onLog : nil)
}

private func context(_ opaque: UnsafeMutableRawPointer?) -> CallbackContext {
  guard let opaque = unsafe opaque else { preconditionFailure("a handle is made with a context") }
  return unsafe Unmanaged<CallbackContext>.fromOpaque(opaque).takeUnretainedValue()
}

private func onConnect(
  _ handle: OpaquePointer?, _ opaque: UnsafeMutableRawPointer?, _ code: Int32, _ flags: Int32,
  _ properties: OpaquePointer?
) {
  let context = unsafe context(opaque)
  if let handle = unsafe handle { unsafe setLogCallback(of: handle, isOn: false) }
  let acknowledgement = unsafe LibraryProperties.acknowledgement(
    code: code, flags: flags, properties: properties, version: context.protocolVersion)
  context.eventCount += 1
  context.isAccepted = !acknowledgement.reason.isFailure
  context.refusal = context.isAccepted ? nil : acknowledgement.reason
  context.serverKeepAlive = acknowledgement.keepAlive
  context.connected(acknowledgement)
}

/// Only remembers why: the client tells the handler when the library's call has returned.
private func onDisconnect(
  _: OpaquePointer?, _ opaque: UnsafeMutableRawPointer?, _ code: Int32, _: OpaquePointer?
) {
  let context = unsafe context(opaque)
  context.eventCount += 1
  // The library's own results (MOSQ_ERR_…) are below 0x80; a broker's reasons are not.
  if code >= 0x80 { context.disconnectReason = ReasonCode(rawValue: UInt8(code & 0xFF)) }
}

private func onMessage(
  _: OpaquePointer?, _ opaque: UnsafeMutableRawPointer?,
  _ message: UnsafePointer<mosquitto_message>?, _ properties: OpaquePointer?
) {
  guard let message = unsafe message?.pointee else { return }
  let context = unsafe context(opaque)
  context.eventCount += 1
  context.messageCount += 1
  if unsafe message.qos > 0 { context.heldAcknowledgements += 1 }
  unsafe context.deliver(message, properties)
}

private func onSubscribe(
  _: OpaquePointer?, _ opaque: UnsafeMutableRawPointer?, _ mid: Int32, _ count: Int32,
  _ granted: UnsafePointer<Int32>?, _: OpaquePointer?
) {
  let codes = unsafe UnsafeBufferPointer(start: granted, count: granted == nil ? 0 : Int(count))
  let reasons = unsafe codes.map { ReasonCode(rawValue: UInt8(truncatingIfNeeded: $0)) }
  let context = unsafe context(opaque)
  context.eventCount += 1
  context.subscribed(mid: mid, granted: reasons)
}

private func onUnsubscribe(
  _: OpaquePointer?, _ opaque: UnsafeMutableRawPointer?, _ mid: Int32, _: OpaquePointer?
) {
  let context = unsafe context(opaque)
  context.eventCount += 1
  context.unsubscribed(mid: mid)
}

private func onPublish(
  _: OpaquePointer?, _ opaque: UnsafeMutableRawPointer?, _ mid: Int32, _ code: Int32,
  _: OpaquePointer?
) {
  let context = unsafe context(opaque)
  context.eventCount += 1
  context.published(mid: mid, reason: ReasonCode(rawValue: UInt8(truncatingIfNeeded: code)))
}

private func onLog(
  _: OpaquePointer?, _ opaque: UnsafeMutableRawPointer?, _ level: Int32,
  _ text: UnsafePointer<CChar>?
) {
  guard level & Int32(MOSQ_LOG_ERR | MOSQ_LOG_WARNING) != 0, let text = unsafe text else { return }
  unsafe context(opaque).complaint = unsafe String(cString: text)
}

extension CallbackContext {
  /// Lends the C message to the handler. No allocation of ours: the properties are copied into the
  /// reused scratch (the library itself copies each text property it hands out).
  fileprivate func deliver(_ message: mosquitto_message, _ properties: OpaquePointer?) {
    scratch.removeAll(keepingCapacity: true)
    if unsafe properties != nil { unsafe LibraryProperties.appendKept(properties, to: &scratch) }
    let header = unsafe MessageHeader(
      mid: message.mid,
      qualityOfService: QualityOfService(rawValue: UInt8(message.qos & 3)) ?? .exactlyOnce,
      isRetained: message.retain,
      subscriptionIdentifier: LibraryProperties.onlySubscription(properties))
    let topic = unsafe UnsafeRawBufferPointer(start: message.topic, count: strlen(message.topic))
    let payload = unsafe UnsafeRawBufferPointer(
      start: message.payload, count: Int(message.payloadlen))
    unsafe topic.withMemoryRebound(to: UInt8.self) { topic in
      unsafe payload.withMemoryRebound(to: UInt8.self) { payload in
        unsafe received(
          header, topic: topic.span, payload: payload.span, properties: scratch.span)
      }
    }
  }
}
