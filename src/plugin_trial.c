/* The trial of a plug-in; see plugin_trial.h. The child says what it found through a pipe. */
#include "plugin_trial.h"

#include "base/fd.h"
#include "base/spawn.h"
#include "handler/plugin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the child says of a plug-in that is well; else it says why not. */
#define WELL "well"

static void try_in_child(const char *path, int fd)
{
    char why[PLUGIN_WHY_MAX] = WELL;

    plugin_try(path, why);
    ssize_t n = write(fd, why, strlen(why)); /* at once, or not at all: it is less than PIPE_BUF */
    _exit(n < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* Waits for the end of the child, and kills it when that does not come. True when it came by itself. */
static bool end(struct spawn_child *child, int *ret_status)
{
    struct pollfd ended = { .fd = child->pidfd, .events = POLLIN };
    int n;

    do
        n = poll(&ended, 1, PLUGIN_TRIAL_MS);
    while (n < 0 && errno == EINTR);
    if (n != 1)
        spawn_signal(child->pidfd, SIGKILL);
    while (n != 1 && poll(&ended, 1, -1) < 0 && errno == EINTR)
        ;
    spawn_reap_one(child->pid, ret_status);
    fd_close(&child->pidfd);
    return n == 1;
}

/* What the child FD has said, of which it may have said nothing. */
static int judge(int fd, bool ended, int status, char *why, size_t size)
{
    char said[PLUGIN_WHY_MAX], how[SPAWN_STATUS_MAX];
    ssize_t n = read(fd, said, sizeof said - 1);

    said[n > 0 ? n : 0] = '\0';
    if (!ended)
        snprintf(why, size, "is not loaded within %d seconds", PLUGIN_TRIAL_MS / 1000);
    else if (strcmp(said, WELL) == 0 && status == 0)
        return 0;
    else if (said[0] && strcmp(said, WELL) != 0)
        snprintf(why, size, "%s", said);
    else
        snprintf(why, size, "the process that loaded it %s", spawn_print_status(how, status));
    return -EINVAL;
}

int plugin_trial(const char *path, char *why, size_t size)
{
    int pipe_fds[2] = { -1, -1 }, status = 0;
    struct spawn_child child = { .pidfd = -1 };

    int r = pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0 ? -errno : spawn_fork(&child);
    if (r == 1)
        try_in_child(path, pipe_fds[1]);
    if (r == 0) {
        bool ended = end(&child, &status);
        r = judge(pipe_fds[0], ended, status, why, size);
    } else {
        snprintf(why, size, "cannot be tried: %s", strerror(-r));
    }
    fd_close(&pipe_fds[0]);
    fd_close(&pipe_fds[1]);
    return r;
}
