import CFilesystemFaults
import Glibc
import Platform
import TestSupport

/// A filesystem of its own in a file behind a loop device, which can be mounted, taken away and
/// mounted again as often as a test wants. Unmounted, detached and deleted with its owner.
final class LoopVolume {
  enum Kind: String, Sendable, CaseIterable {
    case ext4
    case ext4WithoutJournal = "ext4 without journal"
    case xfs

    var filesystem: String { self == .xfs ? "xfs" : "ext4" }

    var makeTool: String { "mkfs.\(filesystem)" }

    /// Everything is laid out now, so that no thread of the kernel writes later on its own account.
    var makeOptions: [String] {
      switch self {
      case .ext4: ["-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"]
      case .ext4WithoutJournal:
        ["-q", "-F", "-b", "4096", "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard"]
      case .xfs: ["-q", "-f"]
      }
    }

    /// mkfs.xfs makes nothing smaller; the file is sparse.
    var byteCount: Int { self == .xfs ? 320 << 20 : 48 << 20 }

    /// Why such a volume cannot be had here; nil when it can.
    var obstacle: String? {
      if geteuid() != 0 { return "needs root to mount" }
      for tool in ["losetup", makeTool] where !Tool.isInstalled(tool) {
        return "\(tool) is not installed"
      }
      do {
        let volume = try LoopVolume(self)
        try volume.mount()
        return nil
      } catch {
        return "no loop mount of \(rawValue) here: \(error)"
      }
    }

    static let obstacles = Dictionary(uniqueKeysWithValues: allCases.map { ($0, $0.obstacle) })

    /// Asked once in a process.
    static func isPossible(_ kind: Kind) -> Bool { obstacles[kind] == .some(nil) }

    static func obstacle(_ kind: Kind) -> String { (obstacles[kind] ?? nil) ?? "none" }
  }

  let kind: Kind
  let device: String
  let mountPoint: String
  let imagePath: String
  private let directory: TemporaryDirectory
  private(set) var isMounted = false

  /// - Parameters:
  ///   - byteCount: nil takes what the kind needs for a ring of 16 MiB.
  ///   - imageDirectory: where the image lies; nil is a directory of its own.
  init(_ kind: Kind, byteCount: Int? = nil, imageDirectory: String? = nil) throws {
    let directory = try TemporaryDirectory(prefix: "penstock-power")
    let imagePath = "\(imageDirectory ?? directory.path)/image"
    let image = try File.open(imagePath, flags: O_RDWR | O_CREAT, mode: 0o600)
    guard ftruncate(image.raw, off_t(byteCount ?? kind.byteCount)) == 0 else {
      throw SystemError("size \(imagePath)")
    }
    try Tool.run(kind.makeTool, kind.makeOptions + [imagePath])
    let device = try Tool.run("losetup", ["--find", "--show", imagePath])
    self.kind = kind
    self.imagePath = imagePath
    self.device = String(device.prefix { $0 != "\n" })
    mountPoint = try directory.makeSubdirectory("mount")
    self.directory = directory
  }

  /// `options`: of the filesystem, as mount(8) names them.
  func mount(options: String = "") throws {
    precondition(!isMounted, "a volume is unmounted before it is mounted again")
    let code = unsafe Glibc.mount(
      device, mountPoint, kind.filesystem, 0, Array(options.utf8CString))
    guard code == 0 else { throw SystemError("mount \(device)") }
    isMounted = true
  }

  func remountReadOnly() throws {
    let flags = penstock_test_remount_read_only
    guard unsafe Glibc.mount(device, mountPoint, kind.filesystem, flags, nil) == 0 else {
      throw SystemError("remount \(device) read-only")
    }
  }

  /// How much the kernel writes to the device in one request.
  func limitRequests(kibibytes: Int) throws {
    let name = device.split(separator: "/").last ?? ""
    let path = "/sys/block/\(name)/queue/max_sectors_kb"
    let file = try File.open(path, flags: O_WRONLY)
    let text = Array("\(kibibytes)".utf8)
    guard unsafe write(file.raw, text, text.count) == text.count else {
      throw SystemError("write \(path)")
    }
  }

  /// Waits for whoever is still closing its files.
  func unmount() throws {
    guard isMounted else { return }
    let deadline = Deadline(in: .seconds(10))
    while unsafe umount2(mountPoint, 0) != 0 {
      guard errno == EBUSY, !deadline.isOver else { throw SystemError("unmount \(mountPoint)") }
      _ = poll(nil, 0, 1)
    }
    isMounted = false
  }

  /// A directory on the volume, durable.
  func makeDirectory(_ name: String) throws -> String {
    let path = "\(mountPoint)/\(name)"
    guard unsafe mkdir(path, 0o700) == 0 else { throw SystemError("make \(path)") }
    try File.syncDirectory(of: path)
    sync()
    return path
  }

  deinit {
    if isMounted, unsafe umount2(mountPoint, 0) != 0 {
      _ = unsafe umount2(mountPoint, penstock_test_detach)
    }
    _ = try? Tool.run("losetup", ["--detach", device])
  }
}

/// A small filesystem in memory, which can be made larger. Unmounted with its owner.
final class MemoryVolume {
  let path: String
  private let directory: TemporaryDirectory

  init(byteCount: Int) throws {
    directory = try TemporaryDirectory(prefix: "penstock-memory")
    path = try directory.makeSubdirectory("mount")
    let options = Array("size=\(byteCount)".utf8CString)
    guard unsafe Glibc.mount("penstock-test", path, "tmpfs", 0, options) == 0 else {
      throw SystemError("mount a tmpfs")
    }
  }

  func resize(to byteCount: Int) throws {
    let options = Array("size=\(byteCount)".utf8CString)
    let flags = penstock_test_remount
    guard unsafe Glibc.mount("penstock-test", path, "tmpfs", flags, options) == 0 else {
      throw SystemError("resize a tmpfs to \(byteCount)")
    }
  }

  /// What its files take.
  func usedByteCount() throws -> Int {
    var facts = statfs()
    guard unsafe statfs(path, &facts) == 0 else { throw SystemError("statfs \(path)") }
    return (Int(facts.f_blocks) - Int(facts.f_bfree)) * Int(facts.f_bsize)
  }

  deinit { _ = unsafe umount2(path, penstock_test_detach) }
}
