/* The service that a word of sockctl means, and what is said when there is none. Runs in the master. */
#ifndef SOCKD_COMMAND_SERVICE_H
#define SOCKD_COMMAND_SERVICE_H

#include "control.h"
#include "generation.h"

/* Of the generation that serves, G, which may be NULL. NULL after an answer that says why not. */
const struct service *command_service_find(const struct generation *g, struct control_client *client,
                                           const char *name);
/* One that has helpers; as above. */
const struct service *command_service_find_with_helpers(const struct generation *g,
                                                        struct control_client *client, const char *name);

#endif
