/// A seed that once failed, and what was wrong then. Seeds name these cases only as long as the
/// generator's choices stay as they are; the faults themselves have tests of their own.
package struct FoundCase: Sendable {
  package let name: String
  package let campaign: Campaign
  package let seed: UInt64
  package let fault: String

  package static let all: [FoundCase] = [
    FoundCase(
      name: "outdated high water", campaign: .decay, seed: 3,
      fault: "the newest superblock rotted on the first lap; groups behind the older one's high "
        + "water were not scanned, not missed, and overwritten"),
    FoundCase(
      name: "outdated high water, unreadable", campaign: .decay, seed: 171,
      fault: "the same with a superblock that cannot be read"),
    FoundCase(
      name: "last two superblocks lost", campaign: .decay, seed: 5993,
      fault: "two superblock writes lost and a group between: the scan stopped at one empty block"),
    FoundCase(
      name: "older copy of a tail at the head", campaign: .decay, seed: 265,
      fault: "the tail's newer copy was gone and the ring went on at the older one, overwrote it "
        + "unreleased and trapped when the index was full"),
    FoundCase(
      name: "older copy of a tail refused", campaign: .decay, seed: 0,
      fault: "the tail's newer copy rotted; the older one lay at the superblock's head and counted "
        + "as another lap"),
    FoundCase(
      name: "old group within a torn one", campaign: .decay, seed: 2237,
      fault: "the second block of the last group was never written; a whole group of the lap "
        + "before lay there and was kept behind the head"),
    FoundCase(
      name: "rot behind the end of a group", campaign: .decay, seed: 40529,
      fault: "of the model: it took a group for damaged whose padding had rotted, and missed the "
        + "older copy of the tail when the newer one was overwritten"),
    FoundCase(
      name: "noise in quarantine", campaign: .decay, seed: 97322,
      fault: "of the model: it read a rotten block that was copied aside as a group, and trapped"),
    FoundCase(
      name: "every superblock with a sink's name lost", campaign: .decay, seed: 143_210,
      fault: "of the model: a sink that the disk has forgotten begins as its configuration says"),
    FoundCase(
      name: "false alarm after a sink was removed", campaign: .model, seed: 2893,
      fault: "all sinks replaced: what the old ones had released was reported as corrupt; again "
        + "with --seed 8524 --sector 4096 --when-full block"),
  ]
}
