// The yardstick of the benchmarks: the plainest subscriber libmosquitto allows. Plain
// mosquitto_loop, QoS 1, persistent session, does nothing with a message but count it. A batch of
// penstock counts as the records it says it carries.
//
//   bare-subscriber PORT FILTER COUNT
//
// Waits for the broker, prints "ready" when subscribed, then, after COUNT messages, one line:
//   messages seconds cpu-seconds
// where seconds run from the first message to the last.

#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static long wanted, seen;
static double first_at, last_at, cpu_at_first;
static const char *filter;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void on_connect(struct mosquitto *m, void *context, int code) {
    (void)context;
    if (code != 0 || mosquitto_subscribe(m, NULL, filter, 1) != MOSQ_ERR_SUCCESS) exit(69);
}

static void on_subscribe(struct mosquitto *m, void *context, int mid, int count, const int *granted) {
    (void)m, (void)context, (void)mid;
    if (count != 1 || granted[0] != 1) exit(69);
    puts("ready");
    fflush(stdout);
}

// The records of an envelope, from its penstock-position, <journal>/<first>-<last>; 1 for a
// message that is none.
static long record_count(const mosquitto_property *properties) {
    char *name = NULL, *value = NULL;
    long first = 1, last = 1;
    const mosquitto_property *p = mosquitto_property_read_string_pair(
        properties, MQTT_PROP_USER_PROPERTY, &name, &value, false);
    while (p != NULL) {
        bool is_position = strcmp(name, "penstock-position") == 0;
        if (is_position) sscanf(value, "%*[^/]/%ld-%ld", &first, &last);
        free(name), free(value);
        if (is_position) break;
        p = mosquitto_property_read_string_pair(p, MQTT_PROP_USER_PROPERTY, &name, &value, true);
    }
    return last - first + 1;
}

static void on_message(
    struct mosquitto *m, void *context, const struct mosquitto_message *message,
    const mosquitto_property *properties) {
    (void)m, (void)context, (void)message;
    long count = record_count(properties);
    if (seen == 0) {
        first_at = now();
        cpu_at_first = cpu();
    }
    seen += count;
    if (seen >= wanted) last_at = now();
}

int main(int argc, char **argv) {
    if (argc != 4) return 64;
    filter = argv[2];
    wanted = atol(argv[3]);
    mosquitto_lib_init();
    struct mosquitto *m = mosquitto_new("bare-subscriber", false, NULL);
    if (m == NULL) return 70;
    mosquitto_int_option(m, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_connect_callback_set(m, on_connect);
    mosquitto_subscribe_callback_set(m, on_subscribe);
    mosquitto_message_v5_callback_set(m, on_message);
    struct timespec pause = {.tv_nsec = 5000000};
    for (int left = 60000; mosquitto_connect(m, "127.0.0.1", atoi(argv[1]), 60) != MOSQ_ERR_SUCCESS;) {
        if (--left == 0) return 69;
        nanosleep(&pause, NULL);
    }
    while (seen < wanted) {
        if (mosquitto_loop(m, 1000, 1) != MOSQ_ERR_SUCCESS) return 69;
    }
    printf("%ld %.6f %.6f\n", seen, last_at - first_at, cpu() - cpu_at_first);
    mosquitto_disconnect(m);
    mosquitto_loop(m, 100, 1);
    mosquitto_destroy(m);
    return 0;
}
