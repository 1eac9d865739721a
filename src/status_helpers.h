/* The helpers of services, as text and as JSON: figures that workers wrote, only printed. Runs in the master.
 */
#ifndef SOCKD_STATUS_HELPERS_H
#define SOCKD_STATUS_HELPERS_H

#include "generation.h"

/* Of G (NULL: there is none), of one service or (NULL) of all that have helpers. The caller frees it; NULL
 * without memory. */
char *status_helpers_text(const struct generation *g, const struct service *one);
char *status_helpers_json(const struct generation *g, const struct service *one);

#endif
