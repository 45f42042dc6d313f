import Glibc
import Platform

/// Something on a loopback port that is no broker: it takes one connection, waits for the first
/// bytes, answers with fixed ones and then stays silent until the owner goes. For what a real
/// broker will not do on demand.
package struct ScriptedPeer: ~Copyable {
  package let port: UInt16
  private let listener: TCPListener
  private let stop: WakeUp

  /// `answer` nil never even accepts: the listener's queue of one is filled, so that a connect
  /// hangs.
  package init(answer: [UInt8]?) throws {
    let stop = try WakeUp()
    let listener = try TCPListener(queueLength: answer == nil ? 0 : 1)
    if let answer { Self.serve(listener.descriptor.raw, answer: answer, until: stop) }
    port = listener.port
    self.listener = listener
    self.stop = stop
  }

  private static func serve(_ raw: Int32, answer: [UInt8], until stop: WakeUp) {
    Thread.start(name: "scripted-peer") {
      guard Poll.wait(socket: raw, wakeUp: stop, timeout: .seconds(60)).socketReadable else {
        return
      }
      let accepted = accept(raw, nil, nil)
      guard accepted >= 0 else { return }
      let connection = FileDescriptor(owning: accepted)
      var request = [UInt8](repeating: 0, count: 4096)
      guard unsafe recv(connection.raw, &request, request.count, 0) > 0 else { return }
      _ = unsafe send(connection.raw, answer, answer.count, Int32(MSG_NOSIGNAL))
      _ = Poll.wait(socket: nil, wakeUp: stop, timeout: .seconds(60))
    }
  }

  deinit { stop.signal() }
}
