/* A plug-in made with a later header of the same ABI, whose struct has grown at its end. */
#include "sockd-plugin.h"

static const struct sockd_host *host;

static int init(const struct sockd_host *h, struct sockd_service *service, const char *options,
                void **context)
{
    (void)service;
    (void)options;
    (void)context;
    host = h;
    return 0;
}

static void handle(void *context, struct sockd_request *request)
{
    (void)context;
    host->reply(request, "larger", 6);
}

struct larger {
    struct sockd_plugin known;
    void *unknown[3];
};

extern const struct larger larger __asm__("sockd_plugin");
const struct larger larger = {
    .known = {
        .size = sizeof(struct larger),
        .abi = SOCKD_PLUGIN_ABI,
        .name = "larger",
        .init = init,
        .handle = handle,
    },
};
