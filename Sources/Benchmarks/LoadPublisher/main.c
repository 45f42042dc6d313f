// The load of the benchmarks: pump telemetry at QoS 1, as fast as the broker takes it or at a rate.
//
//   load-publisher PORT COUNT PAYLOAD-BYTES RUN [MESSAGES-PER-SECOND [WINDOW]]
//
// Each message has an id of its own (RUN tells runs apart), readings with noise, and at a rate the
// time at which it was made ("sentAt", CLOCK_MONOTONIC in nanoseconds). WINDOW messages wait for their
// PUBACK at most; the library looks for each of them from the front. Exits when every PUBACK is in.

#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { payload_max = 65536 };

static int window_max = 800;

static long acknowledged;

static void on_publish(struct mosquitto *m, void *context, int mid) {
    (void)m, (void)context, (void)mid;
    acknowledged++;
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// xorshift64* (Vigna, 2016): the same noise in every run.
static uint64_t state = 0x9e3779b97f4a7c15;
static int noise(int bound) {
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return (int)((state * 0x2545f4914f6cdd1d >> 33) % (uint64_t)bound);
}

static int make(char *payload, int size, const char *run, long number, bool timed) {
    int used = sprintf(
        payload,
        "{\"messageId\":\"%s-%08ld\",\"assetId\":\"ND%02ld\","
        "\"timestamp\":\"2026-11-23T06:%02ld:%02ld.%03dZ\",\"rotation\":%d.%d,\"current\":%d.%02d,"
        "\"pressure\":%d.%d,\"flowRate\":%d.%02d,\"temperature\":%d.%d,\"vibration\":%d.%03d",
        run, number, number % 50, number / 3000 % 60, number / 50 % 60, noise(1000),
        3400 + noise(60), noise(10), 40 + noise(6), noise(100), 9000 + noise(500), noise(10),
        300 + noise(40), noise(100), 60 + noise(8), noise(10), 2 + noise(2), noise(1000));
    if (timed) used += sprintf(payload + used, ",\"sentAt\":%lld", (long long)now());
    if (used + 11 < size) {
        used += sprintf(payload + used, ",\"note\":\"");
        while (used < size - 2) payload[used++] = (char)('a' + noise(26));
        payload[used++] = '"';
    }
    payload[used++] = '}';
    return used;
}

int main(int argc, char **argv) {
    if (argc < 5 || argc > 7) return 64;
    long count = atol(argv[2]);
    int size = atoi(argv[3]);
    double rate = argc >= 6 ? atof(argv[5]) : 0;
    if (argc == 7) window_max = atoi(argv[6]);
    if (size < 200 || size > payload_max) return 64;
    static char payload[payload_max + 512];
    mosquitto_lib_init();
    struct mosquitto *m = mosquitto_new(NULL, true, NULL);
    if (m == NULL) return 70;
    mosquitto_int_option(m, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_max_inflight_messages_set(m, window_max);
    mosquitto_publish_callback_set(m, on_publish);
    if (mosquitto_connect(m, "127.0.0.1", atoi(argv[1]), 60) != MOSQ_ERR_SUCCESS) return 69;
    int64_t start = now();
    for (long sent = 0; acknowledged < count;) {
        long due = rate > 0 ? (long)((double)(now() - start) / 1e9 * rate) : count;
        while (sent < count && sent < due && sent - acknowledged < window_max) {
            char topic[64];
            snprintf(topic, sizeof topic, "pumps/ND%02ld/metrics", sent % 50);
            int used = make(payload, size, argv[4], sent, rate > 0);
            if (mosquitto_publish(m, NULL, topic, used, payload, 1, false) != MOSQ_ERR_SUCCESS) return 69;
            sent++;
        }
        if (mosquitto_loop(m, rate > 0 ? 1 : 100, 1) != MOSQ_ERR_SUCCESS) return 69;
    }
    mosquitto_disconnect(m);
    mosquitto_loop(m, 100, 1);
    mosquitto_destroy(m);
    return 0;
}
