/* Finding a service by its name; see command_service.h. */
#include "command_service.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer_unknown(const struct generation *g, struct control_client *client, const char *name)
{
    const char **names = g ? calloc(g->conf->n_services + 1, sizeof(*names)) : NULL;
    char safe[80], text[256];

    for (size_t i = 0; names && i < g->conf->n_services; i++)
        names[i] = g->conf->services[i].name;
    const char *near = names ? text_suggest(name, names) : NULL;
    text_escape(safe, sizeof(safe), name, strlen(name));
    snprintf(text, sizeof(text), "there is no service %s%s%s%s\n", safe, near ? "; did you mean " : "",
             near ? near : "", near ? "?" : "");
    control_answer(client, CONTROL_NO, text);
    free(names);
}

const struct service *command_service_find(const struct generation *g, struct control_client *client,
                                           const char *name)
{
    const struct service *service = g ? conf_find(g->conf, name) : NULL;

    if (!service)
        answer_unknown(g, client, name);
    return service;
}

const struct service *command_service_find_with_helpers(const struct generation *g,
                                                        struct control_client *client, const char *name)
{
    const struct service *service = command_service_find(g, client, name);
    char text[128];

    if (!service || (service->enabled && service->handler == HANDLER_HELPER))
        return service;
    snprintf(text, sizeof(text), "%s %s\n", service->name,
             service->enabled ? "has no helpers" : "is disabled");
    control_answer(client, CONTROL_NO, text);
    return NULL;
}
