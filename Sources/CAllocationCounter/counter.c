#include "CAllocationCounter.h"
#include <errno.h>
#include <stddef.h>

// glibc's own entry points behind malloc and friends; exported for interposers such as this one.
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

// initial-exec: the access itself must not allocate.
static __thread uint64_t count __attribute__((tls_model("initial-exec")));
static __thread uint64_t byte_count __attribute__((tls_model("initial-exec")));

static void note(size_t size) {
  count += 1;
  byte_count += size;
}

uint64_t penstock_allocation_count(void) { return count; }
uint64_t penstock_allocation_byte_count(void) { return byte_count; }

void *malloc(size_t size) {
  note(size);
  return __libc_malloc(size);
}

void *calloc(size_t members, size_t size) {
  note(members * size);
  return __libc_calloc(members, size);
}

void *realloc(void *pointer, size_t size) {
  note(size);
  return __libc_realloc(pointer, size);
}

void *reallocarray(void *pointer, size_t members, size_t size) {
  size_t total;
  if (__builtin_mul_overflow(members, size, &total)) {
    errno = ENOMEM;
    return NULL;
  }
  note(total);
  return __libc_realloc(pointer, total);
}

void *memalign(size_t alignment, size_t size) {
  note(size);
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  note(size);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
  note(size);
  void *pointer = __libc_memalign(alignment, size);
  if (pointer == NULL) return ENOMEM;
  *result = pointer;
  return 0;
}
