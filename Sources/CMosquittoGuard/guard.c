// One packet must not end the gateway. libmosquitto 2.0.11 logs an MQTT 5 property that does not
// exist without a handle to log to, and its log__printf asserts that there is one (lib/
// property_mosq.c and lib/logging_mosq.c; later versions do not log there). So any broker, or
// whoever speaks for one on an unprotected link, can abort every client. Here that one assertion,
// met while reading, becomes what the library means by it: a malformed packet. Every other
// assertion of the process ends it, as it must.
//
// The jump leaves only frames of libmosquitto behind: it happens while a packet's properties are
// parsed, before any callback of that packet, with no mutex held. What had been parsed of the list
// (at most a packet) leaks; the owner destroys the handle, as after any malformed packet.

#include "guard.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local jmp_buf *landing;

int penstock_mosquitto_loop_read(struct mosquitto *handle, int packet_count) {
    jmp_buf here;
    if (setjmp(here) != 0) {
        landing = NULL;
        return MOSQ_ERR_MALFORMED_PACKET;
    }
    landing = &here;
    int result = mosquitto_loop_read(handle, packet_count);
    landing = NULL;
    return result;
}

// Stands before glibc's own for everything in the process.
void __assert_fail(
    const char *assertion, const char *file, unsigned int line, const char *function) {
    if (landing != NULL && strcmp(function, "log__printf") == 0 && strcmp(assertion, "mosq") == 0)
        longjmp(*landing, 1);
    fprintf(stderr, "%s:%u: %s: Assertion `%s' failed.\n", file, line, function, assertion);
    abort();
}
