/*
 * What the tests of base/log.c share: a directory to work in, standard error put elsewhere and back, and what
 * was written there.
 */
#ifndef SOCKD_TEST_LOG_STDERR_H
#define SOCKD_TEST_LOG_STDERR_H

#include "test.h"

#include "base/addr.h"
#include "base/fd.h"
#include "base/log.h"

#include <fcntl.h>
#include <regex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/sockd-test-log-XXXXXX";
static int real_stderr = -1;

#define STAMP "^[0-9]{4}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{3} "

static inline int prepare(void **arg)
{
    (void)arg;
    alarm(120); /* what waits would wait for ever */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    unsetenv("JOURNAL_STREAM");
    real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static inline int clean_up(void **arg)
{
    (void)arg;
    fd_close(&real_stderr);
    return chdir("/") == 0 ? rmdir(dir) : -1;
}

static inline int reset(void **arg)
{
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    (void)arg;
    log_close();
    dup2(fd, STDERR_FILENO);
    fd_close(&fd);
    log_info("what was lost is told here");
    log_set_level(LOG_INFO);
    log_set_process(NULL, 0, 0);
    log_set_journal_path(NULL);
    unsetenv("JOURNAL_STREAM");
    dup2(real_stderr, STDERR_FILENO);
    return 0;
}

/* Puts FD, which it takes, in the place of standard error; reset() undoes it. */
static inline void take_as_stderr(int fd)
{
    assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
    fd_close(&fd);
}

/* A pipe as standard error; the end to read from, which does not wait. */
static inline int pipe_as_stderr(void)
{
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fd_set_nonblock(fds[0], 1), 0);
    take_as_stderr(fds[1]);
    return fds[0];
}

static inline int file_as_stderr(void)
{
    int fd = open("log", O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600), copy;

    assert_true(fd >= 0);
    unlink("log");
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    take_as_stderr(fd);
    return copy;
}

/* All that can be read from FD now, as a string. */
static inline char *read_now(int fd)
{
    static char text[1 << 20];
    size_t len = 0;
    ssize_t n;

    while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
        len += (size_t)n;
    text[len] = '\0';
    return text;
}

static inline void assert_matches(const char *text, const char *pattern)
{
    regex_t regex;

    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        fail_msg("\"%s\" does not match %s", text, pattern);
    regfree(&regex);
}

static inline size_t count(const char *text, char c)
{
    size_t n = 0;

    for (; *text; text++)
        n += *text == c;
    return n;
}

static const struct addr peer = { .family = AF_INET, .port = 4000, .ip = { 127, 0, 0, 1 } };

/* Logs until a line is lost; the number of lines that were not. */
static inline unsigned log_until_lost(void)
{
    uint64_t before = log_dropped();
    unsigned n = 0;

    for (log_info("line 0"); log_dropped() == before; log_info("line %u", n))
        n++;
    return n;
}

#endif
