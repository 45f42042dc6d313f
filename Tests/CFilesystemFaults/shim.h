#pragma once
// What the tests that cut the power need of the kernel and the product does not. No logic.

#include <fcntl.h>
#include <linux/types.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statfs.h>

// Ends a mounted filesystem at once (ioctl_xfs_goingdown(2); ext4 has the same number): nothing
// that is not on the device yet will get there, the log included. ioctl is variadic, which Swift
// cannot call.
static inline int penstock_test_cut_power(int descriptor) {
    __u32 without_log_flush = 2;
    return ioctl(descriptor, _IOR('X', 125, __u32), &without_log_flush);
}

static const unsigned long penstock_test_remount_read_only = MS_REMOUNT | MS_RDONLY;
static const unsigned long penstock_test_remount = MS_REMOUNT;
static const int penstock_test_detach = MNT_DETACH;
