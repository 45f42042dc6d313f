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
#include <sys/socket.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/statfs.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>

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

// O_TMPFILE of asm-generic/fcntl.h, likewise.
static const int penstock_o_tmpfile = 020000000 | O_DIRECTORY;

// Columns and rows of a terminal, 0 where it is none (ioctl is variadic, which Swift cannot call).
struct penstock_terminal_size {
    unsigned short columns;
    unsigned short rows;
};
static inline struct penstock_terminal_size penstock_terminal_size(int terminal) {
    struct winsize size = {0, 0, 0, 0};
    struct penstock_terminal_size found = {0, 0};
    if (ioctl(terminal, TIOCGWINSZ, &size) == 0) {
        found.columns = size.ws_col;
        found.rows = size.ws_row;
    }
    return found;
}

// A new pseudo terminal of this size: -1, or the descriptor of our side. Unlocked; `number` names the
// other side, /dev/pts/NUMBER (pts(4)).
static inline int penstock_open_terminal(struct penstock_terminal_size size, unsigned *number) {
    struct winsize wanted = {size.rows, size.columns, 0, 0};
    int locked = 0;
    int terminal = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (terminal < 0) return -1;
    if (ioctl(terminal, TIOCSPTLCK, &locked) == 0 && ioctl(terminal, TIOCGPTN, number) == 0 &&
        ioctl(terminal, TIOCSWINSZ, &wanted) == 0)
        return terminal;
    close(terminal);
    return -1;
}

// Bytes in the send queue of a socket, -1 on error (ioctl is variadic, which Swift cannot call).
static inline int penstock_unsent_byte_count(int socket) {
    int count = 0;
    return ioctl(socket, SIOCOUTQ, &count) == 0 ? count : -1;
}

// What TCP_INFO tells about a connection.
struct penstock_tcp_counts {
    unsigned long long sent, acknowledged, received; // payload; `sent` has what was sent again
    unsigned int segments_sent, segments_received, unsent; // unsent: handed over, never sent yet
    unsigned int round_trip, shortest_round_trip; // microseconds; smoothed, of the last minutes
    bool is_ipv6;
};

// Reads them at their offsets in the struct tcp_info of linux/tcp.h (bytes_sent since Linux 4.19),
// which cannot be included beside glibc's older struct of that name. -1: no TCP socket.
static inline int penstock_count_tcp(int socket, struct penstock_tcp_counts *counts) {
    unsigned char info[256];
    socklen_t length = sizeof info;
    struct sockaddr_storage name;
    socklen_t name_length = sizeof name;
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, info, &length) != 0 || length < 208) return -1;
    if (getsockname(socket, (struct sockaddr *)&name, &name_length) != 0) return -1;
    memcpy(&counts->acknowledged, info + 120, 8);
    memcpy(&counts->received, info + 128, 8);
    memcpy(&counts->segments_sent, info + 136, 4);
    memcpy(&counts->segments_received, info + 140, 4);
    memcpy(&counts->unsent, info + 144, 4);
    memcpy(&counts->round_trip, info + 68, 4);
    memcpy(&counts->shortest_round_trip, info + 148, 4);
    memcpy(&counts->sent, info + 200, 8);
    counts->is_ipv6 = name.ss_family == AF_INET6;
    return 0;
}

// Milliseconds since the peer's TCP was last heard of: with data, and with anything. -1 on error.
static inline int penstock_tcp_silence(int socket, unsigned *data, unsigned *any) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    if (getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return -1;
    *data = info.tcpi_last_data_recv;
    *any = info.tcpi_last_ack_recv;
    return 0;
}
