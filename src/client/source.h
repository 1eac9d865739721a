/*
 * Where the requests of a client come from: words of the command line, or an input that is cut into messages
 * or passed on as it stands. Reads its input when told to, and never speaks to the user.
 */
#ifndef SOCKD_CLIENT_SOURCE_H
#define SOCKD_CLIENT_SOURCE_H

#include "base/buf.h"
#include "frame.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum source_kind {
    SOURCE_WORDS,  /* each word is a message */
    SOURCE_LINES,  /* each line is one */
    SOURCE_FRAMES, /* messages in their framing, to be sent as they stand */
    SOURCE_BYTES,  /* bytes without meaning, to be sent as they stand */
    SOURCE_WHOLE,  /* all of the input is one message */
};

struct source {
    enum source_kind kind;
    bool escapes;
    char **words;                  /* borrows; what is left of them */
    int fd;                        /* borrows; -1 when there is no input */
    const struct framing *framing; /* borrows; of SOURCE_FRAMES */
    struct account account;
    struct buf buf;
    struct frame_scan scan;
    bool ended;      /* the input has */
    bool uncounted;  /* bytes without meaning were given, so nobody knows how many replies to expect */
    size_t consumed; /* of BUF, by the item that was given last */
    char *scratch;   /* owns */
    uint64_t n;      /* messages that were given */
};

struct source_item {
    const char *data; /* borrows until the next call */
    size_t len;
    enum frame_end end; /* how a line ended */
    bool as_it_is;      /* not to be framed */
};

void source_init(struct source *ret, enum source_kind kind, bool escapes);
/* Does not close the input. */
void source_done(struct source *s);

/* 1 with an item; 0 when there is none (yet); -EINVAL at an unknown escape; -ENOMEM. */
int source_next(struct source *s, struct source_item *ret);
/* True when source_read() may bring more. */
bool source_wants_input(const struct source *s);
/* Reads once, blocking if nothing is there. 0 or -errno. */
int source_read(struct source *s);

/* LEN bytes at DATA with C escapes read, in new memory, for free(3). The length or -EINVAL, -ENOMEM. */
int source_unescape(const char *data, size_t len, char **ret);

#endif
