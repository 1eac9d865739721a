/* A plug-in that misbehaves as soon as it is loaded, as the environment says. */
#include "sockd-plugin.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static __attribute__((constructor)) void at_load(void)
{
    const char *what = getenv("AT_LOAD");

    if (!what)
        return;
    if (strcmp(what, "abort") == 0)
        abort();
    if (strcmp(what, "exit") == 0)
        exit(0);
    while (strcmp(what, "hang") == 0)
        pause();
}

static void handle(void *context, struct sockd_request *request)
{
    (void)context;
    (void)request;
}

const struct sockd_plugin sockd_plugin = {
    .size = sizeof(struct sockd_plugin),
    .abi = SOCKD_PLUGIN_ABI,
    .name = "at_load",
    .handle = handle,
};
