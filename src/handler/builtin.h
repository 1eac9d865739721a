/* The handlers that need nobody else: echo (RFC 862), discard (RFC 863), daytime (RFC 867). They answer at
 * once. */
#ifndef SOCKD_HANDLER_BUILTIN_H
#define SOCKD_HANDLER_BUILTIN_H

#include "handler/handler.h"

extern const struct handler builtin_echo;
extern const struct handler builtin_discard;
extern const struct handler builtin_daytime;

#endif
