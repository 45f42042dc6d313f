// Goal: once its buffers have grown, deduplication allocates nothing per message.
// Method: the counting allocator around identify, check and insert; the counter's own negative
// control is in AuditTests. Cannot show: what the message cost before it got here.

import AllocationCounting
import GatewayCore
import JSONScanning
import Testing

@testable import Deduplication

@Suite("Allocations of deduplication")
struct AllocationTests {
  static let selectors: [MessageIDSelector] = [
    .json(pointers: ["/id"]), .json(pointers: ["/a", "/b"]), .userProperty(name: "id"),
    .content(within: .seconds(10)),
  ]

  @Test("identify, check and insert allocate nothing", arguments: selectors)
  func messages(selector: MessageIDSelector) throws {
    let isTimed = selector == .content(within: .seconds(10))
    var window = DeduplicationWindow(capacity: 100, within: isTimed ? .seconds(10) : nil)
    var extractor = try IdentityExtractor(selector: selector, key: .reference)
    var scanner = JSONScanner(pointers: extractor.pointers)
    let topic = Array("pumps/ND01/metrics".utf8)
    let long = String(repeating: "x", count: 300)
    let payloads = (0..<400).map { number in
      let id = number % 10 == 0 ? "\(long)\(number)" : "ND01\\u002d\(number)"
      return Array(#"{"id":"\#(id)","a":"x|y","b":\#(number)}"#.utf8)
    }
    let property = Array("17".utf8)
    func pass() -> Int {
      var known = 0
      // Not `enumerated()`: unoptimised, its iterator allocates.
      for number in 0..<payloads.count {
        let time = milliseconds(Int64(number))
        let payload = payloads[number]
        _ = scanner.scan(payload.span)
        let identity = extractor.identify(
          topic: topic.span, payload: payload.span, json: scanner,
          userProperty: property.span)
        window.expire(now: time)
        if window.check(identity.hash, digest: identity.digest) == .new {
          window.insert(identity.hash, digest: identity.digest, at: time)
        } else {
          known += 1
        }
      }
      window.commit()
      return known
    }
    _ = pass()
    var known = 0
    let count = AllocationCounter.measure { known = pass() }
    #expect(known > 0 || selector != .userProperty(name: "id"))
    #expect(count.allocations == 0)
  }
}
