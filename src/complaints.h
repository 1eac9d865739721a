/*
 * Problems of a configuration, collected while it is read and put to work, as the user reads them: one line
 * each, "file:line: path: text". Whoever asked for the configuration prints or logs them.
 */
#ifndef SOCKD_COMPLAINTS_H
#define SOCKD_COMPLAINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <syslog.h>

struct complaint {
    struct complaint *next;
    int level; /* LOG_ERR; LOG_WARNING; LOG_NOTICE: nothing is wrong */
    char text[];
};

struct complaints {
    struct complaint *first, **tail;
    size_t n_fatal;
};

/* Where a key is written: "services.echo." in the main file, "" in a file of the directory. */
struct place {
    const char *file;
    const char *prefix;
};

static inline bool complaint_is_fatal(const struct complaint *c)
{
    return c->level == LOG_ERR;
}

void complaints_init(struct complaints *c);
void complaints_done(struct complaints *c);

/* Logs each, as urgent as it is. */
void complaints_log(const struct complaints *c);

/* Prints each on a line of its own, led by PREFIX, and by "warning: " where it is one. */
void complaints_print(const struct complaints *c, const char *prefix, FILE *out);

/* Bytes of a stranger in the text must have gone through text_escape(). Without memory it is counted, but
 * lost. */
void complaints_add(struct complaints *c, bool fatal, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for what is well, and worth to be known. */
void complaints_notice(struct complaints *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same as complaints_add, led by "file:line: prefix+key: "; LINE 0 and KEY NULL leave their part away. */
void complaints_add_at(struct complaints *c, bool fatal, const struct place *place, int line, const char *key,
                       const char *format, ...) __attribute__((format(printf, 6, 7)));

#endif
