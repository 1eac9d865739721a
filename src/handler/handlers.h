/* The table of handlers, by their kind. It stands above all of them, as handler.h stands below. */
#ifndef SOCKD_HANDLER_HANDLERS_H
#define SOCKD_HANDLER_HANDLERS_H

#include "handler/handler.h"

/* Never NULL for a kind that conf_load lets through. */
const struct handler *handlers_find(enum handler_kind kind);

#endif
