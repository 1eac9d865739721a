/*
 * Problems of a configuration, collected while it is read and put to work, as the user reads them: one line
 * each, "file:line: path: text". Whoever asked for the configuration prints or logs them.
 */
#ifndef SOCKD_COMPLAINTS_H
#define SOCKD_COMPLAINTS_H

#include <stdbool.h>
#include <stddef.h>

struct complaint {
    struct complaint *next;
    bool fatal; /* false: a warning */
    char text[];
};

struct complaints {
    struct complaint *first, **tail;
    size_t n_fatal, n_warnings;
};

/* Where a key is written: "services.echo." in the main file, "" in a file of the directory. */
struct place {
    const char *file;
    const char *prefix;
};

void complaints_init(struct complaints *c);
void complaints_done(struct complaints *c);

/* Logs each, as an error or a warning. */
void complaints_log(const struct complaints *c);

/* Bytes of a stranger in the text must have gone through text_escape(). Without memory it is counted, but
 * lost. */
void complaints_add(struct complaints *c, bool fatal, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, led by "file:line: prefix+key: "; LINE 0 and KEY NULL leave their part away. */
void complaints_add_at(struct complaints *c, bool fatal, const struct place *place, int line, const char *key,
                       const char *format, ...) __attribute__((format(printf, 6, 7)));

#endif
