/* A plug-in without a function. */
#include "sockd-plugin.h"

const struct sockd_plugin sockd_plugin = {
    .size = sizeof(struct sockd_plugin),
    .abi = SOCKD_PLUGIN_ABI,
    .name = "nameless",
};
