/// How the bytes of a batch travel.
package enum Compression: String, Sendable, Hashable, CaseIterable {
  case zstd
  case none
}
