/*
 * The command line of sockctl, read once: options may stand before and after COMMAND. A table of options
 * feeds getopt, the help text, and the check that an option means something to the command.
 */
#ifndef SOCKD_CLIENT_OPTIONS_H
#define SOCKD_CLIENT_OPTIONS_H

#include "frame.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* What a group of commands understands; a command names all its groups. */
enum option_group {
    OPTIONS_ALL = 1,        /* -q, --help, --version */
    OPTIONS_TARGET = 2,     /* whom to talk to; of them -i and --config only with -s */
    OPTIONS_FRAMING = 4,    /* -F */
    OPTIONS_DATAGRAM = 8,   /* -u */
    OPTIONS_TIMEOUT = 16,   /* -w */
    OPTIONS_ESCAPES = 32,   /* -e */
    OPTIONS_HEX = 64,       /* -x */
    OPTIONS_INPUT = 128,    /* -f, --each-line */
    OPTIONS_INTERVAL = 256, /* --interval */
    OPTIONS_JSON = 512,     /* --json */
    OPTIONS_COUNT = 1024,   /* -n */
    OPTIONS_BENCH = 2048,   /* the load of bench */
    OPTIONS_DAEMON = 4096,  /* --control, -i */
};

struct options {
    const char *command; /* NULL: none was named */
    char **words;        /* what follows it, NULL-terminated; borrows from argv */
    int n_words;
    uint64_t given; /* a bit for each row of the table that was on the command line */

    const char *host, *port, *path; /* NULL: not said */
    bool datagrams, ipv4, ipv6;
    bool framing_given;
    struct framing framing;       /* line when not given */
    const char *service, *config; /* NULL: not said */
    bool timeout_given;
    uint64_t timeout_ms; /* 0: no limit */

    const char *file;
    bool escapes, hex, each_line;
    bool count_given;
    int64_t count;
    uint64_t interval_ms;
    int64_t connections, depth, rate, processes; /* rate 0: not planned */
    bool duration_given, warm_up_given, size_given;
    uint64_t duration_ms, warm_up_ms, size;
    bool new_connections, verify;
    const char *expect; /* NULL: not said */
    const char *control, *instance;
    bool json, quiet, help, version;
};

/* 0, or the exit status of a misuse that was spoken of. */
int options_parse(struct options *ret, int argc, char **argv);
/* Says which option means nothing to a command of these GROUPS, or beside another; as options_parse. */
int options_check(const struct options *o, unsigned groups);
/* The rows of the table for these GROUPS as lines of help. */
void options_print_help(FILE *out, unsigned groups);

#endif
