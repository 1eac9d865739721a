/*
 * The standard error of one helper or program, read from a pipe into the log: one line of it is one line of
 * the log, escaped, cut where it is too long. All processes of a service share a limit of lines in a second.
 * Runs in the spawner.
 */
#ifndef SOCKD_STDERR_LOG_H
#define SOCKD_STDERR_LOG_H

#include "base/log_limit.h"
#include "base/loop.h"

#include <stdbool.h>
#include <sys/types.h>

#define STDERR_LINES_PER_SECOND 50
/* The longest line that is told, in bytes. */
#define STDERR_LINE_MAX 1024
/* A process that writes more than so many bytes in a second waits for the next. */
#define STDERR_BYTES_PER_SECOND (1024 * 1024)

struct stderr_log {
    struct log_limit *lines; /* borrows; of all processes of the service */
    struct loop_source source;
    struct loop_timer pause;
    int fd; /* owns; -1 after its end */
    pid_t pid;
    void (*on_end)(struct stderr_log *log); /* the last of those who could write is gone */
    uint64_t second;                        /* of bytes */
    size_t bytes;
    bool cut; /* the rest of a line that was too long is thrown away */
    size_t len;
    char line[STDERR_LINE_MAX];
    char last[256]; /* the last whole line, made safe; "" */
};

/* Takes FD, the non-blocking end of the pipe of process PID, also when it fails. 0 or -errno. ON_END is
 * called at its end, when it is not stderr_log_drain() that meets it. */
int stderr_log_open(struct stderr_log *log, struct log_limit *lines, int fd, pid_t pid,
                    void (*on_end)(struct stderr_log *log));
/* Reads what is there already, to the last byte; true when it was the end. */
bool stderr_log_drain(struct stderr_log *log);
/* Tells an unfinished line too. */
void stderr_log_close(struct stderr_log *log);

#endif
