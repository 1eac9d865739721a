/*
 * Too many descriptors on their way: the kernel lets a user without privileges have only so many as it may
 * have open (unix(7), ETOOMANYREFS). Whoever sends then must wait, and not spin.
 */
#ifndef SOCKD_TEST_CROWD_H
#define SOCKD_TEST_CROWD_H

#include "base/fd.h"

#include "test.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* In a child: it is such a user from now on, and OTHER is a pair to fill. 0 or -1. */
static inline int crowd_enter(int other[2])
{
    const struct rlimit limit = { .rlim_cur = 64, .rlim_max = 64 };

    if (fd_channel(other) < 0 || setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -1;
    return getuid() == 0 ? setuid((uid_t)(200000 + getpid() % 100000)) : 0;
}

/* COUNT says, in a child, how often a loop woke in a fifth of a second; -1: something was wrong. */
static inline void crowd_assert_no_spin(int (*count)(void *arg), void *arg)
{
    int status;

    if (test_is_under_valgrind())
        skip(); /* which has the limit for itself */
    pid_t pid = fork();
    if (pid == 0) {
        int turns = count(arg);
        _exit(turns < 0 ? 255 : turns > 100 ? 100 : turns);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_in_range(WEXITSTATUS(status), 1, 50);
}

#endif
