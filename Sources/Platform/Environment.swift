import Glibc

/// The environment of this process (environ(7)). Nothing in this product calls setenv, so reading is
/// safe from any thread.
package enum Environment {
  /// The value of a variable; nil when it is unset. Bytes that are not UTF-8 become U+FFFD.
  package static func value(of name: String) -> String? {
    guard let text = unsafe getenv(name) else { return nil }
    return unsafe String(cString: text)
  }
}
