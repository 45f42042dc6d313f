import Platform

extension Surroundings {
  /// A password or a key in a file is bounded: it is read at each connect.
  package static let secretFileByteCountMax = 65_536

  /// This process, this machine.
  package static var process: Surroundings {
    Surroundings(
      environment: { Environment.value(of: $0) },
      problemOfSecretFile: { problem(of: $0, isSecret: true) },
      problemOfFile: { problem(of: $0, isSecret: false) })
  }

  private static func problem(of path: String, isSecret: Bool) -> String? {
    do throws(SystemError) {
      let status = try FileStatus(path: path)
      guard status.isRegularFile else { return "\(Findings.shown(path)) is not a file" }
      if isSecret {
        // What systemd hands over with LoadCredential= shows its access list as group bits, inside
        // a directory nobody else can enter.
        let isCredential =
          Environment.value(of: "CREDENTIALS_DIRECTORY").map { path.hasPrefix($0 + "/") } ?? false
        if !isCredential, status.permissions & 0o077 != 0 {
          return
            "\(Findings.shown(path)) has mode 0\(String(status.permissions, radix: 8)), so others "
            + "can use it; accepted: a file only its owner can read (chmod 600)"
        }
        guard status.byteCount > 0 else { return "\(Findings.shown(path)) is empty" }
      }
      _ = try File.readSmall(
        path, byteCountMax: isSecret ? secretFileByteCountMax : YAMLDocument.byteCountMax)
      return nil
    } catch {
      return "\(Findings.shown(path)) cannot be read: \(error.reason); it must exist and be "
        + "readable for the user penstock runs as"
    }
  }
}
