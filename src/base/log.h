/*
 * The log: to the journal in its native protocol when standard error is the journal's stream
 * (JOURNAL_STREAM), else readable lines on standard error. Never blocks: what cannot be written at once is
 * dropped and counted, and the count is told as soon as something fits. One event is one line, whatever a
 * client sent: each line is passed through text_make_safe(), and bytes of a stranger should have gone through
 * text_escape() before. A level is LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO or LOG_DEBUG of syslog.h.
 */
#ifndef SOCKD_BASE_LOG_H
#define SOCKD_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

struct addr;

/* What a line is about; any member may be NULL. */
struct log_about {
    const char *service;
    const struct addr *peer;
    const char *id;              /* the kind of event, 32 hexadecimal digits: MESSAGE_ID in the journal */
    unsigned worker, generation; /* 0: those of this process, if it has any */
};

/*
 * Looks where standard error goes; borrows PROGRAM. Lines less urgent than LEVEL are not written. Before it,
 * lines go plainly to standard error, without time and pid. Call it before a filter or a chroot: it reads the
 * time zone.
 */
void log_open(const char *program, int level);
void log_close(void);
/*
 * For a process that says something and ends: further lines go to the journal's stream. The journal asks the
 * process that sent an entry for its unit, and finds none when it is gone; that of a stream it knows. Fields
 * other than the level are lost.
 */
void log_last_words(void);
void log_set_level(int level);
/* "debug", "info", "notice", "warning", "error" to a LOG_ level; -EINVAL. */
int log_parse_level(const char *word);
const char *log_level_word(int level);
/* Words of all levels, NULL-terminated. */
extern const char *const log_level_words[];
/* lines were lost, since they could not be written at once. */
#define LOG_ID_LOST "986819f5dee6422784b91d8a6ebd2d94"

/*
 * Marks all further lines of this process with what it is: ROLE (borrowed; NULL: the master, or a worker), a
 * worker's number (0: it is none) and a generation's (0: it is of none).
 */
void log_set_process(const char *role, unsigned worker, unsigned generation);
bool log_wants(int level);
/* The descriptor that must stay open in a forked process besides 2, or -1. */
int log_fd(void);
/* The lines lost since the start of this process; those of its parent do not count. */
uint64_t log_dropped(void);
/* Tells how many lines were lost, if that can be written now; the next line does so too. */
void log_tell_losses(void);
/* Lines that were lost, and that is not told yet; and the same of another process, which is gone. */
uint64_t log_untold(void);
void log_add_losses(uint64_t n);
/* For tests: where the journal listens, for the next log_open(); NULL is where it always does. */
void log_set_journal_path(const char *path);

void log_write(int level, const struct log_about *about, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A line of a kind that is about the daemon itself. */
#define log_event(level, kind, ...) log_write(level, &(const struct log_about){ .id = kind }, __VA_ARGS__)

#define log_error(...)   log_write(LOG_ERR, NULL, __VA_ARGS__)
#define log_warning(...) log_write(LOG_WARNING, NULL, __VA_ARGS__)
#define log_notice(...)  log_write(LOG_NOTICE, NULL, __VA_ARGS__)
#define log_info(...)    log_write(LOG_INFO, NULL, __VA_ARGS__)
#define log_debug(...)   log_write(LOG_DEBUG, NULL, __VA_ARGS__)

#endif
