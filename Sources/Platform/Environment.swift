import Glibc

/// The environment of this process (environ(7)). It is changed once, by `setDefault` in main()
/// before any thread is started; from then on reading is safe from any thread.
package enum Environment {
  /// The value of a variable; nil when it is unset. Bytes that are not UTF-8 become U+FFFD.
  package static func value(of name: String) -> String? {
    guard let text = unsafe getenv(name) else { return nil }
    return unsafe String(cString: text)
  }

  /// Sets a variable that is unset. Only from main(), before any thread is started.
  package static func setDefault(_ name: String, _ value: String) {
    _ = unsafe setenv(name, value, 0)
  }

  /// The path of a program: the directories of PATH, then `/usr/sbin`, `/sbin` and
  /// `/usr/local/sbin`, which the PATH of an ordinary user lacks on Debian. nil: not installed.
  package static func executable(named name: String) -> String? {
    let search = (value(of: "PATH") ?? "").split(separator: ":").map(String.init)
    return (search + ["/usr/bin", "/usr/sbin", "/sbin", "/usr/local/sbin"])
      .map { "\($0)/\(name)" }
      .first { unsafe access($0, X_OK) == 0 }
  }

  /// The path of the program that runs now (proc(5), `/proc/self/exe`); nil without `/proc`.
  package static var ownExecutable: String? {
    var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = unsafe readlink("/proc/self/exe", &bytes, bytes.count)
    guard count > 0 else { return nil }
    return String(decoding: bytes[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
