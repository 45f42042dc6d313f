import Batching
import GatewayConfiguration
import GatewayCore
import Ingest
import Mosquitto
import Upstream

/// What each broker of the configuration grants, against what is configured.
struct BrokerChecks {
  let options: GatewayOptions

  /// Bytes of an envelope around one record, with the longest attributes.
  private static let envelopeOverhead = 4096

  var findings: [Finding] {
    options.brokers.flatMap { broker in
      broker.connection.endpoints.indices.flatMap { findings(broker, endpoint: $0) }
    }
  }

  private func findings(_ broker: BrokerOptions, endpoint: Int) -> [Finding] {
    let sources = options.routes.filter { $0.source == broker.name }
    let sinks = options.routes.flatMap { route in
      zip(route.sinks, route.sinkBrokers).filter { $0.1 == broker.name }
        .map { (route: route, sink: $0.0) }
    }
    guard !sources.isEmpty || !sinks.isEmpty else { return [] }
    let place = "\(broker.name) (\(broker.connection.endpoints[endpoint]))"
    // The inbound connection asks for more; without one the outbound counts.
    let connection = sources.first?.ingest.connection ?? sinks[0].sink.connection
    let probe = BrokerProbe(connection)
    do throws(MosquittoError) {
      let (granted, duration) = try probe.connect(endpoint: endpoint)
      var findings: [Finding] = [
        .ok("broker.reachable", place, "lets us in within \(Figures.milliseconds(duration))")
      ]
      findings += limits(granted, connection, place)
      findings += sources.flatMap { checks(of: $0, granted, endpoint: endpoint, place) }
      findings += sinks.flatMap { checks(of: $0.sink, $0.route, granted, place) }
      return findings
    } catch {
      return [.error("broker.reachable", place, error.detail, error.advice)]
    }
  }

  private func limits(
    _ granted: ConnectAcknowledgement, _ connection: ConnectionOptions, _ place: String
  ) -> [Finding] {
    if granted.maximumQualityOfService < .atLeastOnce {
      return [
        .error(
          "broker.qos", place, "takes QoS 0 only, which acknowledges nothing",
          "allow QoS 1 at the broker")
      ]
    }
    if connection.protocolVersion == .v311 {
      return [
        .warning(
          "broker.protocol", place,
          "MQTT 3.1.1 cannot tell its limits and acknowledges what it throws away",
          "use protocol: 5 where the broker speaks it")
      ]
    }
    return []
  }

  // MARK: - As a source

  private func checks(
    of route: RouteOptions, _ granted: ConnectAcknowledgement, endpoint: Int, _ place: String
  ) -> [Finding] {
    [sessionExpiry(route, granted, place), recordSize(route, granted, place)].compactMap { $0 }
      + subscriptions(route, endpoint: endpoint, place)
  }

  private func sessionExpiry(
    _ route: RouteOptions, _ granted: ConnectAcknowledgement, _ place: String
  ) -> Finding? {
    let connection = route.ingest.connection
    guard connection.protocolVersion == .v5 else { return nil }
    let asked = connection.sessionExpiry
    guard let given = granted.sessionExpiry, given < asked else {
      return .ok(
        "broker.session-expiry", place, "keeps a session for \(Figures.duration(asked)), as asked")
    }
    return .warning(
      "broker.session-expiry", place,
      "keeps a session for \(Figures.duration(given)), asked were \(Figures.duration(asked)): "
        + "when the gateway is away for longer, what came meanwhile is lost",
      "raise the broker's limit (Mosquitto: persistent_client_expiration, max_session_expiry)")
  }

  /// A broker drops what is larger than we announce to take, and tells nobody.
  private func recordSize(
    _ route: RouteOptions, _ granted: ConnectAcknowledgement, _ place: String
  ) -> Finding? {
    guard let announced = route.ingest.connection.maximumPacketByteCount else { return nil }
    let check = "broker.packet-size"
    let record = route.ingest.recordByteCountMax
    let limit = granted.maximumPacketByteCount
    if let limit, limit <= announced {
      return .ok(
        check, place,
        "takes packets of at most \(Figures.bytes(limit)), none that route \(route.name) could "
          + "not receive")
    }
    return .warning(
      check, place,
      "takes packets of \(limit.map { "up to \(Figures.bytes($0))" } ?? "any size"); what is over "
        + "\(Figures.bytes(announced)) it drops for route \(route.name) without a word (max_record "
        + "is \(record))",
      "set the broker's limit to \(announced) bytes (Mosquitto: max_packet_size), so that the "
        + "producer hears of it")
  }

  private func subscriptions(
    _ route: RouteOptions, endpoint: Int, _ place: String
  ) -> [Finding] {
    let check = "broker.subscribe"
    let filters = route.ingest.subscriptions
    do throws(MosquittoError) {
      let codes = try BrokerProbe(route.ingest.connection).subscribe(filters, endpoint: endpoint)
      return zip(filters, codes).map { filter, code in
        let subject = "\(place), \(filter)"
        if code == .grantedQoS1 { return .ok(check, subject, "is granted at QoS 1") }
        if code.isFailure {
          return .error(
            check, subject, "is refused: \(code)",
            "let the gateway's user subscribe to it in the broker's access rules")
        }
        return .error(
          check, subject, "is granted at QoS \(code.rawValue) only: messages could be lost",
          "allow QoS 1 at the broker")
      }
    } catch {
      return [.error(check, place, error.detail, error.advice)]
    }
  }

  // MARK: - As a destination

  private func checks(
    of sink: SinkOptions, _ route: RouteOptions, _ granted: ConnectAcknowledgement,
    _ place: String
  ) -> [Finding] {
    let subject = "\(place), \(route.name) to \(sink.name)"
    var findings: [Finding] = []
    if Int(granted.receiveMaximum) < sink.inFlightMax {
      findings.append(
        .warning(
          "broker.receive-maximum", subject,
          "takes \(granted.receiveMaximum) publishes at a time, max_in_flight is "
            + "\(sink.inFlightMax): a long way to the broker is used less",
          "raise the broker's receive maximum (Mosquitto: max_inflight_messages)"))
    }
    let told = granted.maximumPacketByteCount.map { Int($0) }
    guard let limit = [told, sink.packetByteCountMax?.rawValue].compactMap({ $0 }).min() else {
      findings.append(
        .ok("broker.packet-size", subject, "takes packets of any size"))
      return findings
    }
    findings.append(packetSize(limit, sink, route, subject))
    return findings
  }

  private func packetSize(
    _ limit: Int, _ sink: SinkOptions, _ route: RouteOptions, _ subject: String
  ) -> Finding {
    let check = "broker.packet-size"
    let record = route.ingest.recordByteCountMax.rawValue
    let isRaw = sink.batch.format == .raw
    // A payload that is not JSON grows by a third in an envelope.
    let largest = isRaw ? record : record * 4 / 3 + Self.envelopeOverhead
    let text = "takes packets of at most \(Figures.bytes(limit))"
    if limit < largest {
      return .warning(
        check, subject,
        "\(text); a record of max_record (\(route.ingest.recordByteCountMax)) may need "
          + "\(Figures.bytes(largest)) and would become a dead letter",
        "raise the broker's limit, or lower max_record so that producers hear of it")
    }
    if !isRaw, limit < sink.batch.byteCountMax.rawValue {
      return .warning(
        check, subject, "\(text), batch.max_bytes is \(sink.batch.byteCountMax)",
        "batches are made smaller; set batch.max_bytes to the broker's limit")
    }
    return .ok(check, subject, text)
  }
}
