/*
 * `sockd -p 7000 -- COMMAND`: a configuration that is made of the command line. Runs in main(), before there
 * is a master.
 */
#ifndef SOCKD_ONELINER_H
#define SOCKD_ONELINER_H

#include "complaints.h"
#include "conf.h"

#include <stdbool.h>

struct oneliner {
    const char *port, *host, *framing, *helpers; /* NULL: not said */
    bool program;
    char **command; /* NULL-terminated; NULL: there is none */
};

/*
 * The configuration for it, as conf_load() has it: one worker, the caller's directory and environment. The
 * complaints speak of the command line.
 */
int oneliner_load(const struct oneliner *o, struct complaints *complaints, struct conf **ret);

/* "listening on localhost:7000 (line); try: sockctl -p 7000 send hello". The caller frees it; NULL without
 * memory. */
char *oneliner_greeting(const struct oneliner *o);

#endif
