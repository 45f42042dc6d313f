import Audit
import Testing

/// The real agent process between real brokers, each test with its own. One at a time: every test
/// is several processes.
@Suite(
  "the agent between two brokers", .serialized,
  .enabled(if: BrokerProcess.isAvailable, "mosquitto is not installed: apt-get install mosquitto"))
struct IntegrationSuite {}
