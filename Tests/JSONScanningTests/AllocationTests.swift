// Goal: a scan allocates nothing. Method: the allocation counter around scans after one warm-up.
// Its control stands with the envelope's allocation tests. Cannot show: invalid texts, because the
// testing library boxes every error thrown, the scanner's typed one included.

import AllocationCounting
import JSONScanning
import Testing

@Suite("JSON scanner: allocations")
struct JSONScannerAllocationTests {
  @Test(
    "a scan with pointers allocates nothing",
    arguments: [
      #"{"messageId":"ND01-000017","a":[1,2.5e3,{"b":null}],"t":"\u00e9\ud83d\ude00","é":true}"#,
      #"{"message\u0049d":"x","a":1,"a":2,"n":1e400,"s":"\ud800"}"#, "17",
    ])
  func scan(_ text: String) throws {
    let bytes = Array(text.utf8)
    var scanner = JSONScanner(pointers: [
      try JSONPointer("/messageId"), try JSONPointer("/a/2/b"), try JSONPointer("/é"),
    ])
    _ = scanner.scan(bytes.span)
    var found = 0
    let count = AllocationCounter.measure {
      for _ in 0..<10 {
        _ = scanner.scan(bytes.span)
        if scanner.match(0) != nil { found += 1 }
      }
    }
    #expect(count.allocations == 0)
    #expect(found == 0 || found == 10)
  }
}
