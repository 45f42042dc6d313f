#pragma once
#include <stddef.h>
#include <stdint.h>

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `count` bytes, continuing from `state`. With
/// `state` 0 this is the standard checksum; any other state is the checksum of what came before, or
/// a secret seed. Uses the SSE 4.2 or ARMv8 CRC instruction where the processor has it. Any thread.
uint32_t penstock_crc32c(uint32_t state, const uint8_t *bytes, size_t count);

/// The same function without the processor's instruction, for processors that lack it; visible so
/// that a test can compare the two.
uint32_t penstock_crc32c_portable(uint32_t state, const uint8_t *bytes, size_t count);

/// 1 when `penstock_crc32c` uses the processor's instruction.
int penstock_crc32c_is_accelerated(void);
