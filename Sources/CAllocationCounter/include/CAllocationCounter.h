#pragma once
#include <stdint.h>

// Heap allocations of the calling thread since it began: malloc, calloc, realloc, reallocarray,
// aligned_alloc, posix_memalign and memalign, from Swift, from C, from libraries. Linking this
// target puts its functions in front of the C library's: for tests and benchmarks, never for a
// product.
uint64_t penstock_allocation_count(void);

// The bytes they asked for.
uint64_t penstock_allocation_byte_count(void);
