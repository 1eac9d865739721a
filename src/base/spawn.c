/*
 * Forking, signalling by pidfd, reaping. Used by the parents of other processes; nobody else calls fork(2),
 * kill(2) or wait(2).
 */
#include "base/spawn.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP (1U << 2) /* Linux 6.9 */
#endif

static bool is_ignored(int signo)
{
    return signo == SIGPIPE || signo == SIGXFSZ;
}

void spawn_hear_children(void)
{
    signal(SIGCHLD, SIG_DFL);
}

int spawn_take_signals(const int *signals, size_t n)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < n; i++)
        sigaddset(&set, signals[i]);
    for (int signo = 1; signo < NSIG; signo++)
        if (is_ignored(signo))
            signal(signo, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;

    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* In the child, before anything else. */
static void restore_signals(void)
{
    sigset_t child;

    for (int signo = 1; signo < NSIG; signo++)
        if (!is_ignored(signo))
            signal(signo, SIG_DFL); /* fails for SIGKILL, SIGSTOP and those of libc, which is fine */
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_UNBLOCK, &child, NULL);
}

int spawn_fork(struct spawn_child *ret)
{
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0) {
        restore_signals();
        return 1;
    }

    /* Nobody reaps it in between, so the number is still its own, even when it is dead already. */
    int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0) {
        int r = -errno;
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        return r;
    }
    *ret = (struct spawn_child){ .pid = pid, .pidfd = pidfd };
    return 0;
}

int spawn_replace(const char *path, char *const *argv, char *const *envp)
{
    execve(path, argv, envp);
    return -errno;
}

int spawn_signal(int pidfd, int signo)
{
    return pidfd_send_signal(pidfd, signo, NULL, 0) < 0 ? -errno : 0;
}

int spawn_signal_group(const struct spawn_child *child, int signo)
{
    if (pidfd_send_signal(child->pidfd, signo, NULL, PIDFD_SIGNAL_PROCESS_GROUP) == 0)
        return 0;
    if (errno != EINVAL)
        return -errno;
    return kill(-child->pid, signo) < 0 ? -errno : 0;
}

void spawn_end_now(pid_t pid)
{
    kill(-pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

int spawn_adopt_orphans(void)
{
    return prctl(PR_SET_CHILD_SUBREAPER, 1) < 0 ? -errno : 0;
}

/* It waits to be reaped: by us, or first by who traces it, for as long as that one likes. */
static bool is_dead(pid_t pid)
{
    struct pollfd end = { .fd = pidfd_open(pid, 0), .events = POLLIN };
    bool dead = end.fd >= 0 && poll(&end, 1, 0) == 1;

    if (end.fd >= 0)
        close(end.fd);
    return dead;
}

/* A child that is not reaped keeps its number, and that of its group. */
size_t spawn_signal_session(pid_t session, int signo)
{
    FILE *children = fopen("/proc/thread-self/children", "re");
    size_t n = 0;
    int pid;

    while (children && fscanf(children, "%d", &pid) == 1) {
        pid_t group = getpgid(pid);

        if (pid <= 1 || group <= 1 || getsid(pid) != session)
            continue;
        kill(-group, signo);
        n += !is_dead(pid);
    }
    if (children)
        fclose(children);
    return n;
}

bool spawn_reap_one(pid_t pid, int *ret_status)
{
    pid_t r;

    do
        r = waitpid(pid, ret_status, WNOHANG);
    while (r < 0 && errno == EINTR);
    assert(r >= 0);
    return r == pid;
}

pid_t spawn_reap(int *ret_status)
{
    int status;

    for (;;) {
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid <= 0)
            return 0;
        if (WIFSTOPPED(status) || WIFCONTINUED(status))
            continue; /* a debugger's business */
        *ret_status = status;
        return pid;
    }
}

char *spawn_print_status(char buf[SPAWN_STATUS_MAX], int status)
{
    if (WIFSIGNALED(status))
        snprintf(buf, SPAWN_STATUS_MAX, "was ended by signal %d (%s)", WTERMSIG(status),
                 sigdescr_np(WTERMSIG(status)) ? sigdescr_np(WTERMSIG(status)) : "unknown");
    else
        snprintf(buf, SPAWN_STATUS_MAX, "exited with status %d", WEXITSTATUS(status));
    return buf;
}
