import Platform
import RingJournal
import Synchronization

/// The real disk, until it is told to fail.
final class FailingDisk: Disk {
  enum Operation: Sendable {
    case write
    case sync
  }

  private let failing = Mutex<Operation?>(nil)

  /// From now on every such operation fails.
  func fail(_ operation: Operation) { failing.withLock { $0 = operation } }

  func check(_ operation: Operation) throws(SystemError) {
    if failing.withLock({ $0 }) == operation { throw SystemError("\(operation)", code: 5) }
  }

  func open(_ path: String, _ mode: DiskOpenMode) throws(SystemError) -> any DiskFile {
    FailingFile(try POSIXDisk.shared.open(path, mode), self)
  }
  func exists(_ path: String) -> Bool { POSIXDisk.shared.exists(path) }
  func entries(ofDirectory path: String) throws(SystemError) -> [String] {
    try POSIXDisk.shared.entries(ofDirectory: path)
  }
  func createDirectory(_ path: String) throws(SystemError) {
    try POSIXDisk.shared.createDirectory(path)
  }
  func rename(_ path: String, to newPath: String) throws(SystemError) {
    try POSIXDisk.shared.rename(path, to: newPath)
  }
  func remove(_ path: String) throws(SystemError) { try POSIXDisk.shared.remove(path) }
  func syncDirectory(of path: String) throws(SystemError) {
    try POSIXDisk.shared.syncDirectory(of: path)
  }
  func volume(of path: String) throws(SystemError) -> VolumeFacts {
    try POSIXDisk.shared.volume(of: path)
  }
}

private final class FailingFile: DiskFile {
  private let file: any DiskFile
  private let disk: FailingDisk

  init(_ file: any DiskFile, _ disk: FailingDisk) {
    self.file = file
    self.disk = disk
  }

  func lock() throws(SystemError) -> Bool { try file.lock() }
  func byteCount() throws(SystemError) -> Int { try file.byteCount() }
  func read(into bytes: inout MutableSpan<UInt8>, at offset: Int) throws(SystemError) -> Int {
    try file.read(into: &bytes, at: offset)
  }
  func write(_ bytes: Span<UInt8>, at offset: Int) throws(SystemError) {
    try disk.check(.write)
    try file.write(bytes, at: offset)
  }
  func dataSync() throws(SystemError) {
    try disk.check(.sync)
    try file.dataSync()
  }
  func fullSync() throws(SystemError) {
    try disk.check(.sync)
    try file.fullSync()
  }
  func dropCache() { file.dropCache() }
}
