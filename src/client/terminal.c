/* A terminal as a screen, with plain ANSI sequences; see terminal.h. */
#include "client/terminal.h"

#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Alternate screen, no cursor, no wrapping at the right edge. */
#define ENTER "\033[?1049h\033[?25l\033[?7l\033[2J"
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

bool terminal_is_there(void)
{
    const char *term = getenv("TERM");

    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && term[0] && strcmp(term, "dumb") != 0;
}

int terminal_write(const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, data, len);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

/* Keys come at once and unseen; Ctrl-S is a key, so that no write can block for ever. */
static int enter(struct terminal *t)
{
    struct termios raw = t->saved;

    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_iflag &= ~(tcflag_t)IXON;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) < 0)
        return -errno;
    t->is_entered = true;
    return terminal_write(ENTER, strlen(ENTER));
}

static void leave(struct terminal *t)
{
    if (!t->is_entered)
        return;
    t->is_entered = false;
    terminal_write(LEAVE, strlen(LEAVE));
    tcsetattr(STDIN_FILENO, TCSADRAIN, &t->saved);
}

int terminal_open(struct terminal *ret)
{
    static const int signals[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP, SIGCONT, SIGWINCH, SIGPIPE };
    struct terminal t = { .signal_fd = -1 };
    sigset_t set;

    if (tcgetattr(STDIN_FILENO, &t.saved) < 0)
        return -errno;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaddset(&set, signals[i]);
    t.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (t.signal_fd < 0)
        return -errno;
    sigprocmask(SIG_BLOCK, &set, &t.old_mask);
    int r = enter(&t);
    if (r < 0)
        terminal_close(&t);
    else
        *ret = t;
    return r;
}

void terminal_close(struct terminal *t)
{
    leave(t);
    fd_close(&t->signal_fd);
    sigprocmask(SIG_SETMASK, &t->old_mask, NULL);
}

void terminal_die(struct terminal *t, int signal)
{
    sigset_t one;

    terminal_close(t);
    sigemptyset(&one);
    sigaddset(&one, signal);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    raise(signal);
}

/* Until somebody continues us. */
static void suspend(struct terminal *t)
{
    sigset_t stop;

    leave(t);
    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    sigprocmask(SIG_UNBLOCK, &stop, NULL);
    raise(SIGTSTP);
    sigprocmask(SIG_BLOCK, &stop, NULL);
}

int terminal_signal(struct terminal *t)
{
    struct signalfd_siginfo info;

    if (read(t->signal_fd, &info, sizeof(info)) != sizeof(info))
        return 0;
    if (info.ssi_signo == SIGTSTP)
        suspend(t);
    if (info.ssi_signo == SIGTSTP || info.ssi_signo == SIGCONT)
        enter(t);
    return (int)info.ssi_signo;
}

void terminal_size(unsigned *ret_width, unsigned *ret_height)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;

    *ret_width = known ? size.ws_col : 80;
    *ret_height = known ? size.ws_row : 24;
}
