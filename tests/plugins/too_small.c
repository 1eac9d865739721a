/* A plug-in whose struct is not all there. */
#include <stdint.h>

extern const struct sockd_plugin_begun {
    uint32_t size, abi;
} sockd_plugin;

const struct sockd_plugin_begun sockd_plugin = { .size = sizeof(sockd_plugin), .abi = 1 };
