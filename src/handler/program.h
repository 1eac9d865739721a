/* A process for each connection, with the connection as its standard input and output; see program.c. */
#ifndef SOCKD_HANDLER_PROGRAM_H
#define SOCKD_HANDLER_PROGRAM_H

#include "handler/handler.h"

extern const struct handler program_handler;

#endif
