#pragma once
#include <stddef.h>
#include <stdint.h>

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of `count` bytes, continuing from `state`. With
/// `state` 0 this is the standard checksum; any other state is the checksum of what came before, or
/// a secret seed. Uses the SSE 4.2 or ARMv8 CRC instruction where the processor has it.
uint32_t penstock_crc32c(uint32_t state, const uint8_t *bytes, size_t count);
