import Glibc
import Platform
import Synchronization

/// What the runner needs of the targets.
package enum Fuzzing {
  package static var targets: [String] { FuzzTarget.allCases.map(\.rawValue) }

  private static let selected = Mutex<FuzzTarget>(.superblock)

  package static func select(_ name: String) -> Bool {
    guard let target = FuzzTarget(rawValue: name) else { return false }
    selected.withLock { $0 = target }
    return true
  }

  /// One input. A broken promise ends the process, so that libFuzzer keeps the input.
  package static func run(_ input: UnsafeBufferPointer<UInt8>) {
    let target = selected.withLock { $0 }
    do throws(Violation) {
      _ = try target.run(unsafe Span(_unsafeElements: input))
    } catch {
      Console.error("\(target.rawValue): broken promise: \(error)")
      abort()
    }
  }

  package static func writeSeeds(to directory: String) -> Bool {
    let target = selected.withLock { $0 }
    do {
      for (index, seed) in try target.seeds().enumerated() {
        try File.replace("\(directory)/seed-\(index)", with: seed)
      }
      return true
    } catch {
      Console.error("\(directory): \(error)")
      return false
    }
  }
}
