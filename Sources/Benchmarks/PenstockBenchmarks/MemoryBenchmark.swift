import Platform

/// Placeholder until the agent runs end to end.
enum MemoryBenchmark {
  static func run() throws {}
}
