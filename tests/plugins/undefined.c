/* A plug-in that needs a function that nobody has. */
#include "sockd-plugin.h"

void a_function_that_nobody_has(void *context, struct sockd_request *request);

const struct sockd_plugin sockd_plugin = {
    .size = sizeof(struct sockd_plugin),
    .abi = SOCKD_PLUGIN_ABI,
    .name = "undefined",
    .handle = a_function_that_nobody_has,
};
