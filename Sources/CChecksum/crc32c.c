// CRC-32C three ways: slicing-by-8 tables for any processor, SSE 4.2 with three interleaved streams
// (the instruction has a latency of 3 cycles and a throughput of 1, so one stream uses a third of
// it), ARMv8 one stream. All give the same value; the tests compare them.
#include "CChecksum.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

// The Castagnoli polynomial, bits reversed.
#define POLYNOMIAL 0x82F63B78u
// Bytes per stream of one interleaved round. Two sizes: long for groups, short for their remains.
#define STREAM_LONG 4096
#define STREAM_SHORT 256

static uint32_t slice_table[8][256];
static int accelerated;

static void build_slice_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t state = byte;
        for (int bit = 0; bit < 8; bit++) state = state >> 1 ^ (POLYNOMIAL & -(state & 1));
        slice_table[0][byte] = state;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t state = slice_table[0][byte];
        for (int slice = 1; slice < 8; slice++) {
            state = slice_table[0][state & 0xff] ^ state >> 8;
            slice_table[slice][byte] = state;
        }
    }
}

static uint64_t load_little_endian(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

uint32_t penstock_crc32c_portable(uint32_t state, const uint8_t *bytes, size_t count) {
    state = ~state;
    for (; count >= 8; bytes += 8, count -= 8) {
        uint64_t word = load_little_endian(bytes) ^ state;
        state = slice_table[7][word & 0xff] ^ slice_table[6][word >> 8 & 0xff] ^
                slice_table[5][word >> 16 & 0xff] ^ slice_table[4][word >> 24 & 0xff] ^
                slice_table[3][word >> 32 & 0xff] ^ slice_table[2][word >> 40 & 0xff] ^
                slice_table[1][word >> 48 & 0xff] ^ slice_table[0][word >> 56];
    }
    for (; count > 0; bytes++, count--)
        state = slice_table[0][(state ^ *bytes) & 0xff] ^ state >> 8;
    return ~state;
}

#if defined(__x86_64__)

// What a state becomes after STREAM_… zero bytes: the operation is linear over GF(2), so four
// 256-entry tables, one per byte of the state, hold all of it.
static uint32_t shift_long[4][256], shift_short[4][256];

static uint32_t multiply(const uint32_t matrix[32], uint32_t vector) {
    uint32_t product = 0;
    for (int bit = 0; vector != 0; bit++, vector >>= 1)
        if (vector & 1) product ^= matrix[bit];
    return product;
}

// `byte_count` is a power of two: the one-byte matrix is squared log2 times.
static void build_shift_table(uint32_t table[4][256], size_t byte_count) {
    uint32_t matrix[32], square[32];
    for (int bit = 0; bit < 32; bit++) {
        uint32_t state = 1u << bit;
        matrix[bit] = slice_table[0][state & 0xff] ^ state >> 8;
    }
    for (; byte_count > 1; byte_count >>= 1) {
        for (int bit = 0; bit < 32; bit++) square[bit] = multiply(matrix, matrix[bit]);
        memcpy(matrix, square, sizeof matrix);
    }
    for (int part = 0; part < 4; part++)
        for (uint32_t byte = 0; byte < 256; byte++)
            table[part][byte] = multiply(matrix, byte << (8 * part));
}

static uint32_t shift(const uint32_t table[4][256], uint32_t state) {
    return table[0][state & 0xff] ^ table[1][state >> 8 & 0xff] ^ table[2][state >> 16 & 0xff] ^
           table[3][state >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t interleaved(
    uint32_t state, const uint8_t *bytes, size_t stream, const uint32_t table[4][256]) {
    uint64_t first = state, second = 0, third = 0;
    for (size_t i = 0; i < stream; i += 8) {
        first = _mm_crc32_u64(first, load_little_endian(bytes + i));
        second = _mm_crc32_u64(second, load_little_endian(bytes + stream + i));
        third = _mm_crc32_u64(third, load_little_endian(bytes + 2 * stream + i));
    }
    return shift(table, shift(table, (uint32_t)first) ^ (uint32_t)second) ^ (uint32_t)third;
}

__attribute__((target("sse4.2"))) static uint32_t accelerated_crc32c(
    uint32_t state, const uint8_t *bytes, size_t count) {
    state = ~state;
    for (; count >= 3 * STREAM_LONG; bytes += 3 * STREAM_LONG, count -= 3 * STREAM_LONG)
        state = interleaved(state, bytes, STREAM_LONG, shift_long);
    for (; count >= 3 * STREAM_SHORT; bytes += 3 * STREAM_SHORT, count -= 3 * STREAM_SHORT)
        state = interleaved(state, bytes, STREAM_SHORT, shift_short);
    uint64_t wide = state;
    for (; count >= 8; bytes += 8, count -= 8)
        wide = _mm_crc32_u64(wide, load_little_endian(bytes));
    state = (uint32_t)wide;
    for (; count > 0; bytes++, count--) state = _mm_crc32_u8(state, *bytes);
    return ~state;
}

static int detect(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2) != 0;
}

#elif defined(__aarch64__)

__attribute__((target("crc"))) static uint32_t accelerated_crc32c(
    uint32_t state, const uint8_t *bytes, size_t count) {
    state = ~state;
    for (; count >= 8; bytes += 8, count -= 8)
        state = __builtin_arm_crc32cd(state, load_little_endian(bytes));
    for (; count > 0; bytes++, count--) state = __builtin_arm_crc32cb(state, *bytes);
    return ~state;
}

// HWCAP_CRC32 of asm/hwcap.h.
static int detect(void) { return (getauxval(AT_HWCAP) & 1ul << 7) != 0; }

#else

static uint32_t accelerated_crc32c(uint32_t state, const uint8_t *bytes, size_t count) {
    return penstock_crc32c_portable(state, bytes, count);
}

static int detect(void) { return 0; }

#endif

// Before main and before any thread, so the tables need no lock.
__attribute__((constructor)) static void prepare(void) {
    build_slice_table();
#if defined(__x86_64__)
    build_shift_table(shift_long, STREAM_LONG);
    build_shift_table(shift_short, STREAM_SHORT);
#endif
    accelerated = detect();
}

int penstock_crc32c_is_accelerated(void) { return accelerated; }

uint32_t penstock_crc32c(uint32_t state, const uint8_t *bytes, size_t count) {
    return accelerated ? accelerated_crc32c(state, bytes, count)
                       : penstock_crc32c_portable(state, bytes, count);
}
