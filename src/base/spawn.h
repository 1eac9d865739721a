/*
 * The one place that makes processes, signals them and reaps them. A child is held by its pidfd, so that a
 * signal can never hit a stranger that was given the same number. Functions return 0 or -errno and never log.
 */
#ifndef SOCKD_BASE_SPAWN_H
#define SOCKD_BASE_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct spawn_child {
    pid_t pid;
    int pidfd; /* owns */
};

/* Whoever started us may have ignored SIGCHLD, and then the kernel would reap our children. First of all. */
void spawn_hear_children(void);

/*
 * Blocks the signals that the caller reads from a signalfd, and ignores those that must never end a process
 * of ours. Returns a non-blocking signalfd for the N signals in SIGNALS, or -errno. A child of spawn_fork
 * keeps all of them but SIGCHLD blocked: a ^C in a terminal reaches the parent alone, which then decides.
 */
int spawn_take_signals(const int *signals, size_t n);

/*
 * Forks. 1 in the child, which has default dispositions for all signals but the ignored SIGPIPE and SIGXFSZ;
 * 0 in the parent, with *RET set; -errno in the parent when there is no child.
 */
int spawn_fork(struct spawn_child *ret);

/* What a new program gets. All is borrowed, for the call. */
struct spawn_exec {
    char *const *paths; /* NULL-terminated; the first that can be executed is */
    char *const *argv, *const *envp;
    int fds[3];              /* become 0, 1 and 2; nothing else is open. From 3 up */
    const char *directory;   /* working directory; entered before a relative path is looked up */
    size_t soft_descriptors; /* soft RLIMIT_NOFILE; 0: as ours */
    bool dies_with_us;       /* is killed when the calling process ends */
    bool is_trusted;         /* keeps our capabilities: it is sockd itself */
    bool plain_oom_score;    /* ours is lower than that of other processes; its is not */
};

/* What could not be done. */
enum spawn_step {
    SPAWN_STEP_FORK,
    SPAWN_STEP_PREPARE,
    SPAWN_STEP_DIRECTORY,
    SPAWN_STEP_EXECUTE,
};

/*
 * Starts a program in a process group of its own, with all signals default and unblocked, umask 022 and no
 * ambient or inheritable capability. 0 with *RET set, once it is executed; else -errno and *RET_STEP, and
 * there is no process.
 */
int spawn_exec(const struct spawn_exec *what, struct spawn_child *ret, enum spawn_step *ret_step);

/* This process becomes another program, with what is not close-on-exec and the signals as they are now.
 * Returns -errno, or not at all. */
int spawn_replace(const char *path, char *const *argv, char *const *envp);

/* Signals the process of PIDFD. -ESRCH when it is gone. */
int spawn_signal(int pidfd, int signo);

/*
 * Signals the process group that CHILD leads, or led before it was reaped; with SIGNO 0 asks only whether
 * anybody is in it, an unreaped leader among them. -ESRCH: nobody. Before Linux 6.9 a group has no other name
 * than its number, which may be given to a stranger some time after the last member has gone: whoever wants
 * to signal the group of a reaped child asks so often in between that it cannot have been.
 */
int spawn_signal_group(const struct spawn_child *child, int signo);

/* Reaps the child PID: true with its status; false while it lives, or who traces it has not let go of it. */
bool spawn_reap_one(pid_t pid, int *ret_status);

/* Kills the process group that the unreaped child PID leads, and waits for the child. */
void spawn_end_now(pid_t pid);

/* The calling process has no capability from now on (unless a filter forbids giving them up), and gets none
 * by executing anything. */
int spawn_drop_rights(void);

/* Orphans below us become our children, instead of init's. */
int spawn_adopt_orphans(void);

/*
 * Signals the process groups of our children that are in SESSION, which was led by a child of ours; with
 * SIGNO 0 only counts. Returns how many of these children live; 0 too where the kernel does not list them
 * (/proc is missing).
 */
size_t spawn_signal_session(pid_t session, int signo);

/* Reaps one dead child and returns its pid; 0 when none is dead. A stopped child is not dead. */
pid_t spawn_reap(int *ret_status);

/* The longest text of spawn_print_status with its NUL. */
#define SPAWN_STATUS_MAX 80
/* "was ended by signal 9 (Killed)", "exited with status 71". Returns BUF. */
char *spawn_print_status(char buf[SPAWN_STATUS_MAX], int status);

#endif
