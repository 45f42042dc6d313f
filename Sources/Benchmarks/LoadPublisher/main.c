// The load of the ingest benchmark: pump telemetry at QoS 1, as fast as the broker takes it.
//
//   load-publisher PORT COUNT PAYLOAD-BYTES RUN
//
// Each message has an id of its own (RUN tells runs apart). Exits when every PUBACK is in.

#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { window_max = 800, payload_max = 65536 };

static long acknowledged;

static void on_publish(struct mosquitto *m, void *context, int mid) {
    (void)m, (void)context, (void)mid;
    acknowledged++;
}

int main(int argc, char **argv) {
    if (argc != 5) return 64;
    long count = atol(argv[2]);
    int size = atoi(argv[3]);
    if (size < 200 || size > payload_max) return 64;
    static char payload[payload_max + 256];
    mosquitto_lib_init();
    struct mosquitto *m = mosquitto_new(NULL, true, NULL);
    if (m == NULL) return 70;
    mosquitto_int_option(m, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_max_inflight_messages_set(m, window_max);
    mosquitto_publish_callback_set(m, on_publish);
    if (mosquitto_connect(m, "127.0.0.1", atoi(argv[1]), 60) != MOSQ_ERR_SUCCESS) return 69;
    for (long sent = 0; acknowledged < count;) {
        while (sent < count && sent - acknowledged < window_max) {
            char topic[64];
            snprintf(topic, sizeof topic, "pumps/ND%02ld/metrics", sent % 50);
            int used = snprintf(
                payload, sizeof payload,
                "{\"messageId\":\"%s-%08ld\",\"assetId\":\"ND%02ld\","
                "\"timestamp\":\"2026-11-23T06:00:00.%03ldZ\",\"rotation\":%ld.%ld,"
                "\"current\":%ld.%ld,\"pressure\":%ld,\"flowRate\":%ld,\"note\":\"",
                argv[4], sent, sent % 50, sent % 1000, 3400 + sent % 97, sent % 10, 40 + sent % 11,
                sent % 7, 9000 + sent % 503, 300 + sent % 41);
            while (used < size - 2) payload[used++] = (char)('a' + (sent + used) % 26);
            payload[used++] = '"';
            payload[used++] = '}';
            if (mosquitto_publish(m, NULL, topic, used, payload, 1, false) != MOSQ_ERR_SUCCESS) return 69;
            sent++;
        }
        if (mosquitto_loop(m, 100, 1) != MOSQ_ERR_SUCCESS) return 69;
    }
    mosquitto_disconnect(m);
    mosquitto_loop(m, 100, 1);
    mosquitto_destroy(m);
    return 0;
}
