import CMosquitto
import Glibc
import TestSupport

/// What the client must not be: a handle that reads in its own loop but without external threading,
/// as a straightforward use of libmosquitto would. The negative control.
@safe
final class EagerSubscriber {
  private let handle: OpaquePointer
  private final class Counter { var count = 0 }
  private let counter = Counter()

  init(port: UInt16, clientID: String) throws {
    mosquitto_lib_init()
    guard
      let handle = unsafe mosquitto_new(
        clientID, false, Unmanaged.passUnretained(counter).toOpaque())
    else { throw TestFailure("mosquitto_new") }
    unsafe self.handle = handle
    unsafe mosquitto_int_option(handle, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5)
    unsafe mosquitto_int_option(handle, MOSQ_OPT_RECEIVE_MAXIMUM, 900)
    unsafe mosquitto_message_callback_set(handle) { _, opaque, _ in
      guard let opaque = unsafe opaque else { return }
      unsafe Unmanaged<Counter>.fromOpaque(opaque).takeUnretainedValue().count += 1
    }
    guard unsafe mosquitto_connect(handle, "127.0.0.1", Int32(port), 60) == 0 else {
      throw TestFailure("mosquitto_connect")
    }
  }

  deinit { unsafe mosquitto_destroy(handle) }

  /// Reads until `count` messages came; never calls `mosquitto_loop_write`.
  func read(count: Int) throws {
    let deadline = Deadline(in: .seconds(20))
    while counter.count < count && !deadline.isOver {
      var entry = unsafe pollfd(fd: mosquitto_socket(handle), events: Int16(POLLIN), revents: 0)
      _ = unsafe poll(&entry, 1, 100)
      let code = unsafe mosquitto_loop_read(handle, 1)
      if code != 0 { throw TestFailure("mosquitto_loop_read: \(code)") }
    }
    guard counter.count == count else { throw TestFailure("\(counter.count) messages came") }
  }
}
