/// What the small HTTP server serves, apart from sockets: path and method in, page out.
package struct ObservabilityPages: Sendable {
  struct Page: Sendable {
    var status: Int
    var contentType: String
    var body: [UInt8]
  }

  private let registry: MetricsRegistry
  private let board: StatusBoard

  package init(registry: MetricsRegistry, board: StatusBoard) {
    self.registry = registry
    self.board = board
  }

  /// `target` is the request target of the request line; a query is ignored.
  func page(method: String, target: String) -> Page {
    let path = target.prefix { $0 != "?" }
    let make: () -> Page
    switch path {
    case "/metrics":
      make = {
        Page(status: 200, contentType: PrometheusText.contentType, body: registry.exposition())
      }
    case "/healthz":
      make = {
        let health = board.health()
        return Page(
          status: health.status == .unhealthy ? 503 : 200, contentType: "application/json",
          body: health.json())
      }
    case "/": make = { text(200, Self.index) }
    default: make = { text(404, "No such page. There are / , /metrics and /healthz.\n") }
    }
    guard method == "GET" || method == "HEAD" else {
      return text(405, "Only GET and HEAD are answered here.\n")
    }
    return make()
  }

  private func text(_ status: Int, _ body: String) -> Page {
    Page(status: status, contentType: "text/plain; charset=utf-8", body: Array(body.utf8))
  }

  private static let index = """
    penstock
    /metrics  Prometheus text format
    /healthz  200 while the process is healthy, 503 otherwise; the state of every stage as JSON

    """
}
