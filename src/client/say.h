/* What sockctl says on standard error: one line each, with its name in front; and the exit status that goes
 * with it. */
#ifndef SOCKD_CLIENT_SAY_H
#define SOCKD_CLIENT_SAY_H

#include <stdbool.h>

enum {
    EXIT_WELL = 0,
    EXIT_REFUSED = 1, /* the network or the daemon said no */
    EXIT_MISUSED = 2, /* the command line said something that cannot be done */
};

/* After it, only misuse is spoken of. */
void say_set_quiet(bool quiet);

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what is wrong with the command line and where help is. Returns EXIT_MISUSED. */
int say_misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
