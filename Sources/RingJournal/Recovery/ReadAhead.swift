import GatewayCore
import Platform
import Synchronization

/// A piece of the file in a buffer. The buffer begins with room for what the decoder still needs of
/// the piece before, so that a group which lies across two pieces costs no second copy of both.
struct Chunk: ~Copyable, Sendable {
  var buffer: AlignedBuffer
  /// File offsets; the bytes stand in the buffer behind `ScanSize.frontByteCount`.
  var range: Range<Int>
  var found = ScanRead()

  consuming func takeBuffer() -> AlignedBuffer { buffer }
}

/// How much memory a scan takes: `bufferCount` × (`front` + `chunk`), 7.5 MiB as a rule.
struct ScanSize: Sendable {
  /// The largest rest of a group that is carried over without growing; commits are this large at
  /// most unless configured otherwise.
  var frontByteCount = 1 << 20
  var chunkByteCount = 3 << 19

  var bufferByteCount: Int { frontByteCount + chunkByteCount }

  /// One is decoded, one is read, one waits between the two.
  static let bufferCount = 3

  static func chunks(of byteCount: Int) -> ScanSize {
    ScanSize(frontByteCount: byteCount, chunkByteCount: byteCount)
  }
}

/// What reading one range came to.
struct ScanRead: Sendable, Equatable {
  /// Bytes that the file gave.
  var byteCount = 0
  /// Blocks that the disk refused to read; zeros stand in their place.
  var unreadableBlockCount = 0

  /// Reads `range` of the file to `place` of the buffer. When the disk refuses, goes on block by
  /// block, so that one bad sector costs one block. What cannot be read, or lies behind the end of
  /// the file, is zeros: nothing decodes from them.
  static func read(
    _ range: Range<Int>, of file: any DiskFile, into buffer: inout AlignedBuffer, at place: Int
  ) -> ScanRead {
    var result = ScanRead()
    do throws(SystemError) {
      result.byteCount = try buffer.withMutableBytes(place..<place + range.count) {
        bytes throws(SystemError) in try file.read(into: &bytes, at: range.lowerBound)
      }
      buffer.zero(place + result.byteCount..<place + range.count)
      return result
    } catch {
      // Below.
    }
    for offset in stride(from: range.lowerBound, to: range.upperBound, by: Block.byteCount) {
      let start = place + offset - range.lowerBound
      let end = min(start + Block.byteCount, place + range.count)
      var count = 0
      do throws(SystemError) {
        count = try buffer.withMutableBytes(start..<end) { bytes throws(SystemError) in
          try file.read(into: &bytes, at: offset)
        }
      } catch {
        count = 0
        result.unreadableBlockCount += 1
      }
      result.byteCount += count
      buffer.zero(start + count..<end)
    }
    return result
  }
}

/// Reads ranges of a file on a thread of its own, in pieces and in order, while the owner decodes
/// the pieces before. The disk and the processor work at the same time; on one core the thread
/// sleeps in the disk while the owner decodes. The buffers go round between the two: each has one
/// owner at any time, and there are never more than `ScanSize.bufferCount`.
///
/// When this goes the thread has ended, also when not everything was taken.
struct ReadAhead: ~Copyable {
  private let channel: ChunkChannel
  private let plan: [Range<Int>]
  private var takenCount = 0
  // Behind the rest: joined when `deinit` has told it to stop.
  private let thread: JoinedThread

  /// Nil: there is no thread or no descriptor for it, or it would not pay; read without.
  init?(_ ranges: [Range<Int>], of file: any DiskFile, size: ScanSize) {
    var plan: [Range<Int>] = []
    for range in ranges {
      for start in stride(from: range.lowerBound, to: range.upperBound, by: size.chunkByteCount) {
        plan.append(start..<min(start + size.chunkByteCount, range.upperBound))
      }
    }
    guard plan.count > 1 else { return nil }
    do throws(SystemError) {
      let channel = try ChunkChannel()
      // The owner has a buffer of its own, which takes part from the first swap on.
      for _ in 1..<ScanSize.bufferCount {
        channel.giveBack(AlignedBuffer(count: size.bufferByteCount))
      }
      thread = try JoinedThread(name: "read-ahead") { [plan] in
        for range in plan {
          guard let buffer = channel.obtain() else { return }
          var chunk = Chunk(buffer: buffer, range: range)
          chunk.found = ScanRead.read(
            range, of: file, into: &chunk.buffer, at: size.frontByteCount)
          channel.deliver(chunk)
        }
      }
      self.channel = channel
    } catch {
      return nil
    }
    self.plan = plan
  }

  deinit { channel.stop() }

  /// Where the next piece lies; nil when all were taken.
  var next: Range<Int>? { takenCount < plan.count ? plan[takenCount] : nil }

  /// The next piece; waits for it.
  mutating func take() -> Chunk {
    precondition(takenCount < plan.count, "a piece is left")
    takenCount += 1
    return channel.take()
  }

  /// A buffer that the owner needs no more.
  func giveBack(_ buffer: consuming AlignedBuffer) { channel.giveBack(buffer) }
}

/// Hands buffers from the reading thread to the decoding one and back.
private final class ChunkChannel: Sendable {
  private struct State: ~Copyable, Sendable {
    var full: [3 of Chunk?] = .init { _ in nil }
    var deliveredCount = 0
    var takenCount = 0
    var free: [3 of AlignedBuffer?] = .init { _ in nil }
    var freeCount = 0
    var isStopped = false
  }

  private let state = Mutex(State())
  private let forReader: WakeUp
  private let forDecoder: WakeUp

  init() throws(SystemError) {
    forReader = try WakeUp()
    forDecoder = try WakeUp()
  }

  /// The reading thread: a buffer to fill; nil when nobody wants more.
  func obtain() -> AlignedBuffer? {
    while true {
      forReader.clear()
      var isStopped = false
      let buffer = state.withLock { state -> AlignedBuffer? in
        isStopped = state.isStopped
        guard !isStopped, state.freeCount > 0 else { return nil }
        state.freeCount -= 1
        return state.free[state.freeCount].take()
      }
      if let buffer { return buffer }
      if isStopped { return nil }
      _ = Poll.wait(socket: nil, wakeUp: forReader, timeout: .seconds(60))
    }
  }

  /// The reading thread: a full buffer.
  func deliver(_ chunk: consuming Chunk) {
    var chunk: Chunk? = chunk
    state.withLock { state in
      state.full[state.deliveredCount % ScanSize.bufferCount] = chunk.take()
      state.deliveredCount += 1
    }
    forDecoder.signal()
  }

  /// The decoding thread: the oldest full buffer.
  func take() -> Chunk {
    while true {
      forDecoder.clear()
      let chunk = state.withLock { state -> Chunk? in
        guard state.takenCount < state.deliveredCount else { return nil }
        state.takenCount += 1
        return state.full[(state.takenCount - 1) % ScanSize.bufferCount].take()
      }
      if let chunk { return chunk }
      _ = Poll.wait(socket: nil, wakeUp: forDecoder, timeout: .seconds(60))
    }
  }

  /// The decoding thread: a buffer for the reader.
  func giveBack(_ buffer: consuming AlignedBuffer) {
    var buffer: AlignedBuffer? = buffer
    state.withLock { state in
      precondition(state.freeCount < ScanSize.bufferCount, "buffers only go round")
      state.free[state.freeCount] = buffer.take()
      state.freeCount += 1
    }
    forReader.signal()
  }

  func stop() {
    state.withLock { $0.isStopped = true }
    forReader.signal()
  }
}
