import CLinux
import Glibc

/// One named POSIX thread that runs a body to its end. `async` callers wait with `run`.
package enum Thread {
  /// Runs `body` on a fresh thread of its own and returns what it returns. The calling task is
  /// suspended, no pool thread is blocked. Cancellation is not forwarded: tell the body through the
  /// state it watches (see `withTaskCancellationHandler`). Throws what `body` throws, and
  /// `SystemError` when the system grants no thread.
  package static func run<Success: Sendable>(
    name: String, _ body: @escaping @Sendable () throws -> Success
  ) async throws -> Success {
    try await withCheckedThrowingContinuation { continuation in
      do throws(SystemError) {
        _ = try create(name: name, isDetached: true) {
          continuation.resume(with: Result(catching: body))
        }
      } catch {
        continuation.resume(throwing: error)
      }
    }
  }

  /// Starts a detached thread. The name is cut to the 15 bytes the kernel keeps.
  package static func start(name: String, _ body: @escaping @Sendable () -> Void) {
    do throws(SystemError) {
      _ = try create(name: name, isDetached: true, body)
    } catch {
      preconditionFailure("\(error)")
    }
  }

  fileprivate static func create(
    name: String, isDetached: Bool, _ body: @escaping @Sendable () -> Void
  ) throws(SystemError) -> pthread_t {
    let context = Context(name: name, body: body)
    // +1 for the new thread, which takes it over; balanced here when there is no new thread.
    let retained = unsafe Unmanaged.passRetained(context)
    var attributes = pthread_attr_t()
    unsafe pthread_attr_init(&attributes)
    let state = isDetached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE
    unsafe pthread_attr_setdetachstate(&attributes, Int32(state))
    var thread = pthread_t()
    let code = unsafe pthread_create(
      &thread, &attributes,
      { opaque in
        guard let opaque = unsafe opaque else { return nil }
        let context = unsafe Unmanaged<Context>.fromOpaque(opaque).takeRetainedValue()
        let name = String(decoding: context.name.utf8.prefix(15), as: UTF8.self)
        _ = unsafe pthread_setname_np(pthread_self(), name)
        context.body()
        return nil
      }, retained.toOpaque())
    unsafe pthread_attr_destroy(&attributes)
    if code != 0 {
      unsafe retained.release()
      throw SystemError("pthread_create", code: code)
    }
    return thread
  }

  private final class Context: Sendable {
    let name: String
    let body: @Sendable () -> Void
    init(name: String, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }
}

/// A thread that has ended, and let go of everything it held, when its owner goes: the owner's end
/// waits for it. So tell the body to stop first.
package struct JoinedThread: ~Copyable {
  private let thread: pthread_t

  /// - Throws: when the system has no thread to give (pthread_create(3)).
  package init(name: String, _ body: @escaping @Sendable () -> Void) throws(SystemError) {
    thread = try Thread.create(name: name, isDetached: false, body)
  }

  deinit { pthread_join(thread, nil) }
}
