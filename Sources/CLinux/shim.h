#pragma once
// What Linux has and Swift's Glibc module does not show. No logic.

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/statfs.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <time.h>

// Declared by glibc only under _GNU_SOURCE, which the Glibc module is built without.
int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask);
int pthread_setname_np(pthread_t thread, const char *name);
int sync_file_range(int file, __off64_t offset, __off64_t count, unsigned flags);
int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t *actions, int from);

// Enumeration constants and expression macros, which Swift does not import as Int32.
static const int penstock_eventfd_flags = EFD_NONBLOCK | EFD_CLOEXEC;
// O_DIRECT of asm-generic/fcntl.h; fcntl.h shows it only under _GNU_SOURCE.
#if defined(__aarch64__) || defined(__arm__)
static const int penstock_o_direct = 0200000;
#else
static const int penstock_o_direct = 040000;
#endif

// SYNC_FILE_RANGE_WRITE of linux/fs.h.
static const unsigned penstock_begin_writeback = 2;

// Bytes in the send queue of a socket, -1 on error (ioctl is variadic, which Swift cannot call).
static inline int penstock_unsent_byte_count(int socket) {
    int count = 0;
    return ioctl(socket, SIOCOUTQ, &count) == 0 ? count : -1;
}

// Milliseconds since the peer's TCP was last heard of: with data, and with anything. -1 on error
// (struct tcp_info is full of bit fields).
static inline int penstock_tcp_silence(int socket, unsigned *data, unsigned *any) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return -1;
    *data = info.tcpi_last_data_recv;
    *any = info.tcpi_last_ack_recv;
    return 0;
}
