import Control
import Gateway
import GatewayConfiguration
import GatewayCore
import Platform
import RingJournal

/// What this machine must offer a gateway.
struct MachineChecks {
  let options: GatewayOptions

  private static let syncCount = 20
  /// A PUBACK waits for a sync: beyond this, producers notice.
  private static let slowSync: Duration = .milliseconds(50)
  private static let hangingSync: Duration = .seconds(1)
  /// For dead letters, copies of damaged groups, and what else grows.
  private static let spareRoom = ByteCount.mebibytes(64)

  private var directory: String { options.dataDirectory }

  var findings: [Finding] {
    guard let status = try? FileStatus(path: directory), status.isDirectory else {
      return [
        .error(
          "data-directory", directory, "does not exist, or this user may not look",
          "create it, owned by the user that runs penstock, or mount it")
      ] + others
    }
    return [ownership(status), mount(status)].compactMap { $0 } + volume + [sync] + journals
      + others
  }

  private var others: [Finding] { [clock, descriptors, agent] + certificates + [unit] }

  private func ownership(_ status: FileStatus) -> Finding {
    let mode = "mode 0\(String(status.permissions, radix: 8))"
    if status.permissions & 0o022 != 0 {
      return .error(
        "data-directory.mode", directory, "\(mode): others can write there",
        "chmod 700 \(directory)")
    }
    if status.permissions & 0o055 != 0 {
      return .warning(
        "data-directory.mode", directory, "\(mode): others can list it", "chmod 700 \(directory)")
    }
    return .ok("data-directory.mode", directory, mode)
  }

  private func mount(_ status: FileStatus) -> Finding? {
    guard let parent = try? FileStatus(path: directory + "/..") else { return nil }
    let isMount = parent.device != status.device
    if options.dataDirectoryIsMount && !isMount {
      return .error(
        "data-directory.mount", directory, "is no mount point, and data_directory_is_mount is true",
        "mount the card; the gateway refuses to start until then")
    }
    if isMount && !options.dataDirectoryIsMount {
      return .warning(
        "data-directory.mount", directory, "is a mount point, and nobody checks that it is mounted",
        "set data_directory_is_mount: true, or a missing card looks like a first start")
    }
    return .ok(
      "data-directory.mount", directory, isMount ? "is mounted" : "is part of its filesystem")
  }

  private var volume: [Finding] {
    let facts: VolumeFacts
    do throws(SystemError) {
      facts = try POSIXDisk.shared.volume(of: directory + "/x")
    } catch {
      return [.error("data-directory.filesystem", directory, "\(error)", "check the disk")]
    }
    let filesystem: Finding =
      switch facts.filesystem {
      case .ordinary: .ok("data-directory.filesystem", directory, "keeps what is synced")
      case .doubtful(let name):
        .warning(
          "data-directory.filesystem", directory,
          "is on \(name): whether a sync reaches the disk depends on what lies below",
          "use a local ext4, XFS or Btrfs")
      case .refused(let name):
        .error(
          "data-directory.filesystem", directory,
          "is on \(name), where a sync does not survive a power cut",
          "use a local ext4, XFS or Btrfs; the gateway refuses to start")
      }
    return [filesystem, room(facts.freeByteCount)]
  }

  private func room(_ free: Int) -> Finding {
    let missing = options.routes.filter { (try? FileStatus(path: $0.journalPath)) == nil }
    let needed = missing.reduce(0) { $0 + $1.journal.capacity.rawValue }
    let text = "\(Figures.bytes(free)) free, \(Figures.bytes(needed)) needed for new journals"
    if free < needed {
      return .error(
        "data-directory.room", directory, text, "free some, or make journal.size smaller")
    }
    if free - needed < Self.spareRoom.rawValue {
      return .warning(
        "data-directory.room", directory, text,
        "leave \(Self.spareRoom) for dead letters and copies of what was damaged")
    }
    return .ok("data-directory.room", directory, text)
  }

  private var sync: Finding {
    do throws(SystemError) {
      let times = try DiskProbe.syncTimes(in: directory, count: Self.syncCount)
      let median = times[times.count / 2]
      let worst = times[times.count - 1]
      let text =
        "4 KiB written and synced in \(Figures.milliseconds(median)), the slowest of "
        + "\(times.count) in \(Figures.milliseconds(worst))"
      if worst >= Self.hangingSync || median >= Self.slowSync {
        return .warning(
          "disk.sync", directory, text,
          "every PUBACK waits for a sync: check the disk's health, or use a better card")
      }
      return .ok("disk.sync", directory, text)
    } catch {
      return .warning(
        "disk.sync", directory, "could not be measured (\(error.reason))",
        "run this as the gateway's user, beside a disk that is writable")
    }
  }

  private var journals: [Finding] {
    options.routes.map { route in
      guard let status = try? FileStatus(path: route.journalPath) else {
        return .ok("journal", route.journalPath, "is not there yet: the first start makes it")
      }
      if status.byteCount != route.journal.capacity.rawValue {
        return .warning(
          "journal", route.journalPath,
          "has \(Figures.bytes(status.byteCount)), configured are \(route.journal.capacity)",
          "the file's size holds; `penstock journal resize` changes it")
      }
      if status.permissions & 0o077 != 0 {
        return .warning(
          "journal", route.journalPath,
          "mode 0\(String(status.permissions, radix: 8)): others can read the messages",
          "chmod 600 \(route.journalPath)")
      }
      return .ok("journal", route.journalPath, "\(Figures.bytes(status.byteCount))")
    }
  }

  private var clock: Finding {
    Clock.isSynchronised()
      ? .ok("clock", "this machine", "is synchronised")
      : .warning(
        "clock", "this machine", "is not synchronised: times of records are marked as doubtful",
        "start chrony or systemd-timesyncd, and let it reach a server")
  }

  private var descriptors: Finding {
    let needed = GatewayService.descriptorCount(for: options)
    guard let limit = descriptorCountMax else {
      return .ok("process.files", "this process", "the limit of open files is not known")
    }
    let text = "\(limit) open files allowed here, \(needed) needed"
    return limit < needed
      ? .warning("process.files", "this process", text, "see that LimitNOFILE of the unit is more")
      : .ok("process.files", "this process", text)
  }

  private var agent: Finding {
    let path = ControlSocket.path(dataDirectory: directory)
    do {
      let status = try Agent(socket: path).status()
      let arrival = Arrival(status, grace: .seconds(10))
      let health = status.health ?? "unknown"
      let text = "runs, health \(health). \(arrival.sentence)"
      return health == "ok"
        ? .ok("agent", path, text)
        : .warning("agent", path, text, "see `penstock status`")
    } catch AgentAbsence.notRunning {
      return .ok("agent", path, "does not run")
    } catch AgentAbsence.unreachable(let reason) {
      return .warning("agent", path, reason, "run this as the gateway's user")
    } catch {
      return .warning("agent", path, "\(error)", "see the agent's log")
    }
  }

  private var certificates: [Finding] {
    CertificateJudgement.all(of: options, now: Clock.wall()).map { judgement in
      switch judgement.level {
      case .fine: .ok("certificate", judgement.path, judgement.text)
      case .warning:
        .warning(
          "certificate", judgement.path, judgement.text, "replace it before connections fail")
      case .error:
        .error("certificate", judgement.path, judgement.text, "TLS cannot work with it")
      }
    }
  }

  /// Lines of our own unit that somebody may have taken away, and what is lost with them.
  private static let unitLines: [(line: String, loss: String)] = [
    ("Type=notify", "systemd does not know when the gateway is ready"),
    ("WatchdogSec=", "a gateway that hangs is not restarted"),
    ("Restart=always", "a gateway that ends is not restarted"),
    ("NoNewPrivileges=yes", "a hole in the gateway is a hole in the machine"),
    ("ProtectSystem=strict", "a hole in the gateway is a hole in the machine"),
    ("LimitCORE=0", "a core dump would hold passwords and messages"),
  ]

  private var unit: Finding {
    let places = ["/etc", "/lib", "/usr/lib"].map { "\($0)/systemd/system/penstock.service" }
    guard let path = places.first(where: { (try? FileStatus(path: $0)) != nil }),
      let bytes = try? File.readSmall(path, byteCountMax: 1 << 20)
    else {
      return .ok("unit", "penstock.service", "is not installed")
    }
    let lines = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline)
    let missing = Self.unitLines.filter { wanted in
      !lines.contains { $0.hasPrefix(wanted.line) }
    }
    if missing.isEmpty { return .ok("unit", path, "is hardened and watched") }
    return .warning(
      "unit", path,
      missing.map { "\($0.line) is not there: \($0.loss)" }.joined(separator: "; "),
      "take the shipped unit, and change it by `systemctl edit penstock`")
  }
}
