import TestSupport
import Testing

/// Gives the tests of a suite one PostgreSQL server; it starts with the first and ends with the
/// last.
struct PostgresTrait: SuiteTrait, TestScoping {
  @TaskLocal static var server: PostgresServer?

  @concurrent func provideScope(
    for test: Test, testCase: Test.Case?,
    performing body: @concurrent @Sendable () async throws -> Void
  ) async throws {
    try await Self.$server.withValue(PostgresServer()) { try await body() }
  }
}

extension Trait where Self == PostgresTrait {
  static var postgres: Self { Self() }
}

/// The server of the suite that the running test belongs to.
func currentServer() throws -> PostgresServer {
  guard let server = PostgresTrait.server else { throw TestFailure("the suite has no server") }
  return server
}
