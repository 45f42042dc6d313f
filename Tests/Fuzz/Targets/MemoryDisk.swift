import GatewayCore
import Platform
import Synchronization

@testable import RingJournal

/// One file in memory: what every run can afford.
final class MemoryDisk: Disk {
  private let files: Mutex<[String: MemoryFile]>

  init(_ contents: [String: [UInt8]] = [:]) {
    files = Mutex(contents.mapValues { MemoryFile($0) })
  }

  func content(_ path: String) -> [UInt8] {
    files.withLock { $0[path]?.content.withLock { $0 } ?? [] }
  }

  func open(_ path: String, _ mode: DiskOpenMode) throws(SystemError) -> any DiskFile {
    try files.withLock { files throws(SystemError) in
      if case .create = mode { files[path] = MemoryFile([]) }
      guard let file = files[path] else { throw SystemError("open \(path)", code: 2) }
      return file
    }
  }
  func exists(_ path: String) -> Bool { files.withLock { $0[path] != nil } }
  func entries(ofDirectory path: String) throws(SystemError) -> [String] { [] }
  func createDirectory(_ path: String) throws(SystemError) {}
  func rename(_ path: String, to newPath: String) throws(SystemError) {
    files.withLock {
      $0[newPath] = $0[path]
      $0[path] = nil
    }
  }
  func remove(_ path: String) throws(SystemError) { files.withLock { $0[path] = nil } }
  func syncDirectory(of path: String) throws(SystemError) {}
  func volume(of path: String) throws(SystemError) -> VolumeFacts {
    VolumeFacts(filesystem: .ordinary, freeByteCount: 1 << 30, identity: 7)
  }
}

final class MemoryFile: DiskFile {
  let content: Mutex<[UInt8]>

  init(_ content: [UInt8]) { self.content = Mutex(content) }

  /// There is one process here.
  func lock() throws(SystemError) -> Bool { true }
  func byteCount() throws(SystemError) -> Int { content.withLock { $0.count } }

  func read(into bytes: inout MutableSpan<UInt8>, at offset: Int) throws(SystemError) -> Int {
    // The lock's closure may not capture a span, so it hands the array out: no copy.
    let content = content.withLock { $0 }
    let count = max(min(bytes.count, content.count - offset), 0)
    if count > 0 { bytes.store(content.span.extracting(offset..<offset + count), at: 0) }
    return count
  }

  func write(_ bytes: Span<UInt8>, at offset: Int) throws(SystemError) {
    var copy = content.withLock { content in
      let copy = content
      content = []
      return copy
    }
    let end = offset + bytes.count
    if copy.count < end { copy += [UInt8](repeating: 0, count: end - copy.count) }
    copy.edit(offset..<end) { $0.store(bytes, at: 0) }
    let written = copy
    content.withLock { $0 = written }
  }

  func dataSync() throws(SystemError) {}
  func fullSync() throws(SystemError) {}
  func dropCache() {}
}

/// A clock that stands still until it is pushed: the same input takes the same way every time.
final class StillClock: JournalClock {
  private let nanoseconds = Atomic<Int64>(1_000_000_000_000)

  func advance(_ duration: Duration) {
    nanoseconds.add(duration.nanoseconds, ordering: .relaxed)
  }
  func monotonic() -> MonotonicTime {
    MonotonicTime(nanoseconds: nanoseconds.load(ordering: .relaxed))
  }
  func powered() -> MonotonicTime { monotonic() }
  func wall() -> WallTime {
    WallTime(nanoseconds: 1_764_000_000_000_000_000 + monotonic().nanoseconds)
  }
  func isSynchronised() -> Bool { true }
}
