package import Platform
package import RingJournal
import Synchronization

/// A disk of one file that is what the test says, for campaigns that damage a finished file again
/// and again: nothing is ever lost or delayed here; blocks can be made unreadable, and every
/// write is counted.
package final class ImageDisk: Disk {
  private struct State {
    var image: [UInt8]
    var others: [String: [UInt8]] = [:]
    var unreadable: Set<Int> = []
    var writeCount = 0
  }

  private let path: String
  private let state: Mutex<State>

  package init(_ image: [UInt8], at path: String = JournalKit.path) {
    self.path = path
    state = Mutex(State(image: image))
  }

  package var image: [UInt8] { state.withLock { $0.image } }

  /// Writes to the file since the beginning.
  package var writeCount: Int { state.withLock { $0.writeCount } }

  /// Blocks that still refuse.
  package var unreadableBlockCount: Int { state.withLock { $0.unreadable.count } }

  /// Reading any byte of these blocks answers EIO; writing heals them.
  package func refuseToRead(blocks: Set<Int>) { state.withLock { $0.unreadable = blocks } }

  package func open(_ path: String, _ mode: DiskOpenMode) throws(SystemError) -> any DiskFile {
    if case .create = mode { state.withLock { $0.others[path] = [] } }
    guard exists(path) else { throw SystemError("open \(path)", code: 2) }
    return Descriptor(disk: self, path: path)
  }

  package func exists(_ path: String) -> Bool {
    path == self.path || state.withLock { $0.others[path] != nil }
  }

  package func entries(ofDirectory path: String) throws(SystemError) -> [String] {
    state.withLock { Array($0.others.keys) }.filter { File.directoryName(of: $0) == path }
      .map { String($0.dropFirst(path.count + 1)) }
  }

  package func createDirectory(_ path: String) throws(SystemError) {}
  package func rename(_ path: String, to newPath: String) throws(SystemError) {}
  package func remove(_ path: String) throws(SystemError) {
    state.withLock { $0.others[path] = nil }
  }
  package func syncDirectory(of path: String) throws(SystemError) {}

  package func volume(of path: String) throws(SystemError) -> VolumeFacts {
    VolumeFacts(filesystem: .ordinary, freeByteCount: 1 << 40, identity: 7)
  }

  private final class Descriptor: DiskFile {
    private let disk: ImageDisk
    private let path: String

    init(disk: ImageDisk, path: String) {
      self.disk = disk
      self.path = path
    }

    private var isJournal: Bool { path == disk.path }

    func lock() throws(SystemError) -> Bool { true }

    func byteCount() throws(SystemError) -> Int {
      disk.state.withLock { isJournal ? $0.image.count : $0.others[path]?.count ?? 0 }
    }

    func read(into bytes: inout MutableSpan<UInt8>, at offset: Int) throws(SystemError) -> Int {
      let wanted = bytes.count
      let part = try disk.state.withLock { state throws(SystemError) -> [UInt8] in
        let content = isJournal ? state.image : state.others[path] ?? []
        let end = min(content.count, offset + wanted)
        guard offset < end else { return [] }
        if isJournal, !state.unreadable.isEmpty {
          for block in offset / 4096...(end - 1) / 4096 where state.unreadable.contains(block) {
            throw SystemError("pread", code: 5)
          }
        }
        return Array(content[offset..<end])
      }
      bytes.put(part.span)
      return part.count
    }

    func write(_ bytes: Span<UInt8>, at offset: Int) throws(SystemError) {
      var copy = [UInt8](repeating: 0, count: bytes.count)
      copy.put(bytes, at: 0)
      disk.state.withLock { state in
        guard isJournal else {
          let missing = offset + copy.count - (state.others[path]?.count ?? 0)
          state.others[path, default: []] += [UInt8](repeating: 0, count: max(missing, 0))
          state.others[path]?.put(copy.span, at: offset)
          return
        }
        state.writeCount += 1
        state.image.put(copy.span, at: offset)
        for block in offset / 4096...(offset + copy.count - 1) / 4096 {
          state.unreadable.remove(block)
        }
      }
    }

    func dataSync() throws(SystemError) {}
    func fullSync() throws(SystemError) {}
    func dropCache() {}
  }
}
