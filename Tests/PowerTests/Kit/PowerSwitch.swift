import CFilesystemFaults
import Glibc
import Platform
import Synchronization
import TestSupport

/// Cuts the power of a volume and of the gateway that writes to it: the process dies and at once
/// the filesystem ends, without its log and its dirty pages. May be thrown from any thread, also by
/// the arrival of the n-th PUBACK.
///
/// Cannot show: a write that tears or reorders inside itself, and a disk whose own cache lies.
/// Whole pages that the kernel had written back before the cut are there after it.
final class PowerSwitch: Sendable {
  private struct State: ~Copyable, Sendable {
    var volume: FileDescriptor?
    var process: Int32?
    var acknowledgementsLeft: Int?
    var failure: SystemError?
  }

  private let state = Mutex(State())
  private let fired: WakeUp

  init() throws { fired = try WakeUp() }

  /// - Parameters:
  ///   - process: must not be reaped before `waitForCut` returned; nil: only the disk goes, as a
  ///     card that is pulled out.
  ///   - acknowledgements: cuts when so many PUBACKs have arrived from now on; nil: only `cut`.
  func arm(mountPoint: String, process: Int32?, acknowledgements: Int?) throws {
    let volume = try File.open(mountPoint, flags: O_RDONLY | O_DIRECTORY)
    var moved: FileDescriptor? = consume volume
    fired.clear()
    state.withLock { state in
      state.volume = moved.take()
      state.process = process
      state.acknowledgementsLeft = acknowledgements
      state.failure = nil
    }
  }

  /// A PUBACK has arrived.
  func acknowledged() {
    let isDue = state.withLock { state in
      guard let left = state.acknowledgementsLeft else { return false }
      state.acknowledgementsLeft = left > 1 ? left - 1 : nil
      return left == 1
    }
    if isDue { cut() }
  }

  /// Now. A second cut of the same mount does nothing.
  func cut() {
    state.withLock { state in
      guard let volume = state.volume.take() else { return }
      // A processor without power runs no further instruction: it must not see a disk that fails.
      if let process = state.process { _ = kill(process, SIGKILL) }
      if penstock_test_cut_power(volume.raw) != 0 { state.failure = SystemError("cut the power") }
    }
    fired.signal()
  }

  /// False: not within `limit`.
  func waitForCut(atMost limit: Duration) throws -> Bool {
    let isCut = Poll.wait(socket: nil, wakeUp: fired, timeout: limit).wokenUp
    if let failure = state.withLock({ $0.failure }) { throw failure }
    return isCut
  }
}
