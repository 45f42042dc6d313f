import Glibc

/// Owns one private directory (mode 0700) below TMPDIR or /var/tmp (on a disk even where /tmp is
/// memory) and removes it with all its content when the owner goes, unless told to `keep` it. For
/// tests, the demo and benchmarks.
package struct TemporaryDirectory: ~Copyable, Sendable {
  package let path: String
  /// True leaves the directory behind, for a look at what happened.
  package var isKept = false

  package init(prefix: String) throws(SystemError) {
    let parent = Environment.value(of: "TMPDIR") ?? "/var/tmp"
    var template = Array("\(parent)/\(prefix)-XXXXXX".utf8CString)
    let made = unsafe template.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return false }
      return unsafe mkdtemp(base) != nil
    }
    guard made else { throw SystemError("make a directory in \(parent)") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  deinit {
    if !isKept { Self.remove(path) }
  }

  /// Makes a directory in it (mode 0700) and returns its path.
  package func makeSubdirectory(_ name: String) throws(SystemError) -> String {
    let made = "\(path)/\(name)"
    guard unsafe mkdir(made, 0o700) == 0 else { throw SystemError("make \(made)") }
    return made
  }

  /// Depth first; does not follow symbolic links. What cannot be removed stays.
  private static func remove(_ path: String) {
    for name in File.names(in: path) { remove("\(path)/\(name)") }
    _ = unsafe Glibc.remove(path)
  }

}

extension File {
  /// The entries of a directory, in no order; empty for what is not one.
  package static func names(in path: String) -> [String] {
    var status = stat()
    guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR,
      let directory = unsafe opendir(path)
    else { return [] }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafeBytes(of: entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }
}
