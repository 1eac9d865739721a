/* A plug-in of a future sockd: only the first two numbers mean what they mean here. */
#include <stdint.h>

extern const struct sockd_plugin_7 {
    uint32_t size, abi;
} sockd_plugin;

const struct sockd_plugin_7 sockd_plugin = { .size = sizeof(sockd_plugin), .abi = 7 };
