// Goal: a source keeps its place, two never share one, and places come back. Method: random use
// against a dictionary. Cannot show: the quality of the hash, which is the caller's.

import Testing

@testable import Filtering

@Suite struct SourcePlacesTests {
  @Test("random use equals a dictionary, whatever the low bits of the hashes")
  func model() {
    var generator = SystemRandomNumberGenerator()
    var places = SourcePlaces(capacity: 50)
    var known: [UInt64: Int] = [:]
    for round in 0..<20_000 {
      // Few low bits: long probes.
      let hash = UInt64.random(in: 0..<200, using: &generator) << 4
      if let found = places.place(of: hash) {
        #expect(found.isNew == (known[hash] == nil))
        if let place = known[hash] { #expect(place == found.place) }
        #expect(!known.contains { $0.key != hash && $0.value == found.place })
        known[hash] = found.place
      } else {
        #expect(known.count == 50 && known[hash] == nil && places.find(hash) == nil)
      }
      #expect(places.count == known.count)
      guard round.isMultiple(of: 97) else { continue }
      places.reclaim { $0.isMultiple(of: 2) }
      known = known.filter { !$0.value.isMultiple(of: 2) }
      for (hash, place) in known { #expect(places.find(hash) == place) }
    }
  }

  @Test("the limit is the number of places")
  func limit() {
    var places = SourcePlaces(capacity: 3)
    for hash in 1...3 { #expect(places.place(of: UInt64(hash))?.isNew == true) }
    #expect(places.place(of: 4) == nil && places.place(of: 2)?.isNew == false)
    places.reclaim { _ in true }
    #expect(places.count == 0 && places.place(of: 4)?.isNew == true)
  }
}
