/* base/spawn.c: what a child begins with, how it is signalled, and how its end is told. */
#include "test.h"

#include "base/fd.h"
#include "base/spawn.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int signal_fd = -1;

static int take_signals(void **arg)
{
    static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD };

    (void)arg;
    signal_fd = spawn_take_signals(signals, 4);
    return signal_fd < 0;
}

/* Waits for a child's end; returns its status. */
static int wait_for(pid_t pid)
{
    struct pollfd wait = { .fd = signal_fd, .events = POLLIN };
    char info[128];
    int status;
    pid_t reaped;

    while ((reaped = spawn_reap(&status)) == 0) {
        assert_int_equal(poll(&wait, 1, 10000), 1);
        while (read(signal_fd, info, sizeof(info)) > 0)
            ;
    }
    assert_int_equal(reaped, pid);
    return status;
}

/* 0 when the child's signals are as promised; else the number of the first that is not. */
static int wrong_signal(void)
{
    sigset_t blocked;

    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int signo = 1; signo < NSIG; signo++) {
        struct sigaction action;
        bool ignored = signo == SIGPIPE || signo == SIGXFSZ;
        bool kept = signo == SIGTERM || signo == SIGINT || signo == SIGHUP;
        if (sigaction(signo, NULL, &action) < 0)
            continue;
        if (action.sa_handler != (ignored ? SIG_IGN : SIG_DFL) || sigismember(&blocked, signo) != kept)
            return signo;
    }
    return 0;
}

static void test_a_child_has_default_signals_and_those_of_the_terminal_blocked(void **arg)
{
    struct spawn_child child;

    (void)arg;
    signal(SIGUSR1, SIG_IGN);
    int r = spawn_fork(&child);
    if (r == 1)
        _exit(wrong_signal());
    assert_int_equal(r, 0);
    int status = wait_for(child.pid);
    fd_close(&child.pidfd);
    signal(SIGUSR1, SIG_DFL);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_a_child_is_signalled_by_its_pidfd_and_never_after_its_end(void **arg)
{
    struct spawn_child child;
    char text[SPAWN_STATUS_MAX];

    (void)arg;
    int r = spawn_fork(&child);
    if (r == 1)
        for (;;)
            pause();
    assert_int_equal(r, 0);
    assert_int_equal(spawn_signal(child.pidfd, SIGKILL), 0);
    assert_string_equal(spawn_print_status(text, wait_for(child.pid)), "was ended by signal 9 (Killed)");
    assert_int_equal(spawn_signal(child.pidfd, SIGKILL), -ESRCH);
    fd_close(&child.pidfd);
}

static void test_an_exit_status_is_told(void **arg)
{
    struct spawn_child child;
    char text[SPAWN_STATUS_MAX];

    (void)arg;
    int r = spawn_fork(&child);
    if (r == 1)
        _exit(71);
    assert_int_equal(r, 0);
    assert_string_equal(spawn_print_status(text, wait_for(child.pid)), "exited with status 71");
    fd_close(&child.pidfd);
}

static void test_without_children_nothing_is_reaped(void **arg)
{
    int status;

    (void)arg;
    assert_int_equal(spawn_reap(&status), 0);
}

static void test_A17_a_stopped_child_is_not_dead(void **arg)
{
    struct spawn_child child;
    siginfo_t info;
    int status;

    (void)arg;
    int r = spawn_fork(&child);
    if (r == 1)
        for (;;)
            pause();
    assert_int_equal(r, 0);
    assert_int_equal(spawn_signal(child.pidfd, SIGSTOP), 0);
    assert_int_equal(waitid(P_PID, (id_t)child.pid, &info, WSTOPPED | WNOWAIT), 0);
    assert_int_equal(spawn_reap(&status), 0);
    assert_int_equal(spawn_signal(child.pidfd, SIGKILL), 0);
    wait_for(child.pid);
    fd_close(&child.pidfd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_child_has_default_signals_and_those_of_the_terminal_blocked),
        cmocka_unit_test(test_a_child_is_signalled_by_its_pidfd_and_never_after_its_end),
        cmocka_unit_test(test_an_exit_status_is_told),
        cmocka_unit_test(test_without_children_nothing_is_reaped),
        cmocka_unit_test(test_A17_a_stopped_child_is_not_dead),
    };

    return cmocka_run_group_tests(tests, take_signals, NULL);
}
