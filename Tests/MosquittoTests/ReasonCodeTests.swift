import Mosquitto
import Testing

@Suite("Reason codes")
struct ReasonCodeTests {
  @Test("codes of 0x80 and above are failures and have their names")
  func names() {
    #expect(ReasonCode.notAuthorized.description == "not authorized (0x87)")
    #expect(ReasonCode.success.description == "success (0x00)")
    #expect(ReasonCode(rawValue: 0xFE).description == "unknown reason (0xFE)")
    #expect(!ReasonCode.noMatchingSubscribers.isFailure)
    #expect(ReasonCode.unspecifiedError.isFailure)
  }

  @Test("CONNACK return codes of MQTT 3.1.1 are translated")
  func returnCodes() {
    let expected: [ReasonCode] = [
      .success, .unsupportedProtocolVersion, .clientIdentifierNotValid, .serverUnavailable,
      .badUserNameOrPassword, .notAuthorized, .unspecifiedError,
    ]
    #expect((0...6).map { ReasonCode(connectReturnCode: $0) } == expected)
  }
}
