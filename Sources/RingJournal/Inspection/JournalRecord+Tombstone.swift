package import GatewayCore

extension JournalRecord {
  /// Why a tombstone's messages were refused; nil for other records. `bytes` are those lent with
  /// it.
  package func refusal(_ bytes: Span<UInt8>) -> GapReason? {
    kind == .tombstone ? Tombstone.decode(bytes, payload)?.reason : nil
  }
}
