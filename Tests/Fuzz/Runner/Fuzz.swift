// libFuzzer's driver round one target:
//
//   penstock-fuzz TARGET [libFuzzer options] CORPUS…   search
//   penstock-fuzz TARGET --seeds DIRECTORY             write the inputs to begin with
//   penstock-fuzz --targets                            the names

import CFuzzer
import FuzzTargets
import Glibc
import Platform

@main
struct Fuzz {
  static func main() {
    let arguments = CommandLine.arguments
    guard arguments.count > 1, arguments[1] != "--targets" else {
      Console.line(Fuzzing.targets.joined(separator: "\n"))
      return
    }
    // What libFuzzer starts itself, to merge, gets its options only.
    if let target = Environment.value(of: targetVariable), Fuzzing.select(target) {
      exit(unsafe drive(CommandLine.argc, CommandLine.unsafeArgv))
    }
    guard Fuzzing.select(arguments[1]) else {
      Console.error("no target \(arguments[1]); see --targets")
      exit(64)
    }
    if arguments.count == 4, arguments[2] == "--seeds" {
      exit(Fuzzing.writeSeeds(to: arguments[3]) ? 0 : 74)
    }
    Environment.setDefault(targetVariable, arguments[1])
    unsafe CommandLine.unsafeArgv[1] = CommandLine.unsafeArgv[0]
    exit(unsafe drive(CommandLine.argc - 1, CommandLine.unsafeArgv + 1))
  }

  private static let targetVariable = "PENSTOCK_FUZZ_TARGET"

  private static func drive(
    _ count: Int32, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>
  ) -> Int32 {
    var count = count
    var values: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = unsafe arguments
    return unsafe LLVMFuzzerRunDriver(&count, &values) { data, size in
      unsafe Fuzzing.run(UnsafeBufferPointer(start: data, count: size))
      return 0
    }
  }
}
