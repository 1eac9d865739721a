/*
 * A plug-in of sockd that answers each request with the same in upper case, and says how many it has answered
 * when its worker ends. See sockd-plugin(3).
 */
#include <ctype.h>
#include <errno.h>
#include <sockd-plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

struct upper {
    const struct sockd_host *host;
    struct sockd_service *service;
    unsigned long answered;
};

static int upper_init(const struct sockd_host *host, struct sockd_service *service, const char *options,
                      void **context)
{
    struct upper *upper;

    if (options[0])
        return EINVAL; /* there are none */
    upper = calloc(1, sizeof *upper);
    if (!upper)
        return ENOMEM;
    upper->host = host;
    upper->service = service;
    *context = upper;
    return 0;
}

static void upper_handle(void *context, struct sockd_request *request)
{
    struct upper *upper = context;
    size_t len;
    const char *data = upper->host->data(request, &len);
    char *reply = malloc(len + 1);

    if (!reply) {
        upper->host->fail(request, "out of memory");
        return;
    }
    for (size_t i = 0; i < len; i++)
        reply[i] = (char)toupper((unsigned char)data[i]);
    upper->host->reply(request, reply, len);
    upper->answered++;
    free(reply);
}

static void upper_fini(void *context)
{
    struct upper *upper = context;
    char text[64];

    snprintf(text, sizeof text, "%lu requests answered", upper->answered);
    upper->host->log(upper->service, LOG_INFO, text);
    free(upper);
}

const struct sockd_plugin sockd_plugin = {
    .size = sizeof(struct sockd_plugin),
    .abi = SOCKD_PLUGIN_ABI,
    .name = "upper",
    .init = upper_init,
    .handle = upper_handle,
    .fini = upper_fini,
};
