import Platform

/// How long the tests of slow faults go on: seconds in `make test`, minutes in `make torture`.
enum LongRun {
  /// Whole numbers of the environment; `standard` when the variable is not set.
  static func value(_ variable: String, standard: Int) -> Int {
    guard let text = Environment.value(of: variable) else { return standard }
    guard let value = Int(text), value > 0 else {
      preconditionFailure("\(variable) is a whole number, not \(text)")
    }
    return value
  }
}
