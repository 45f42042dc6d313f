#include "CChecksum.h"

uint32_t penstock_crc32c(uint32_t state, const uint8_t *bytes, size_t count) {
    state = ~state;
    for (size_t i = 0; i < count; i++) {
        state ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) state = state >> 1 ^ (0x82F63B78u & -(state & 1));
    }
    return ~state;
}
