// libFuzzer as a library (LLVM, "Using libFuzzer as a library"): the driver that its own main calls.
#pragma once
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerRunDriver(
    int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t size));
