import Glibc
import Mosquitto
import Platform

/// What the files of one connection hold, as a number: enough to see that they were replaced, of no
/// use to anybody else (the hash is seeded anew by each process).
struct CredentialPrint: Hashable, Sendable {
  private static let byteCountMax = CertificateFile.byteCountMax

  private let value: Int

  init(of connection: ConnectionOptions) {
    var paths = connection.endpoints.contains(where: \.usesTLS) ? connection.tls?.files ?? [] : []
    if case .file(let path) = connection.password { paths.append(path) }
    var hasher = Hasher()
    for path in paths {
      do throws(SystemError) {
        hasher.combine(try File.readSmall(path, byteCountMax: Self.byteCountMax))
      } catch {
        hasher.combine(error.code)
      }
    }
    value = hasher.finalize()
  }
}
