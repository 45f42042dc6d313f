#pragma once
#include <mosquitto.h>

// mosquitto_loop_read, except that a broker cannot end the process with it: see guard.c.
int penstock_mosquitto_loop_read(struct mosquitto *handle, int packet_count);
