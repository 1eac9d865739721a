/*
 * Executing a program: the other half of base/spawn.h. A child that shares our memory, as vfork(2) makes it,
 * sets itself up and executes; we sleep meanwhile. Nothing of ours is copied, which is what makes it quick,
 * and the reason of a failure is simply left in our memory.
 *
 *     parent  clone ....... sleeps ........ reads the result
 *     child     setpgid, dup2, ... , execve    (or writes errno, and _exit)
 *
 * So the child may do nothing that changes memory, but its own stack and the result: system calls only. Our
 * process has no signal handler that could run in it.
 */
#include "base/spawn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define STACK_SIZE ((size_t)64 * 1024)

/* The kernel's view of sigaction(2), all default. */
struct kernel_sigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
};

struct birth {
    const struct spawn_exec *what;
    struct rlimit descriptors;
    pid_t parent;
    volatile enum spawn_step step;
    volatile int error; /* 0: executed, or killed before it could be */
};

/* libc hides two signals; the kernel does not, and an ignored one would stay ignored. */
static int reset_signals(void)
{
    static const struct kernel_sigaction fallback = { .handler = SIG_DFL };
    static const unsigned long none;

    for (int signo = 1; signo < NSIG; signo++)
        syscall(SYS_rt_sigaction, signo, &fallback, NULL, sizeof(none)); /* fails for KILL and STOP */
    return (int)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* fails where there are none yet */
    if (syscall(SYS_capget, &header, data) < 0)
        return -1;
    if (data[0].inheritable == 0 && data[1].inheritable == 0)
        return 0;
    data[0].inheritable = data[1].inheritable = 0;
    return (int)syscall(SYS_capset, &header, data);
}

int spawn_drop_rights(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    /* A filter of the service manager may forbid the call; then its bounding set has to do. */
    return syscall(SYS_capset, &header, none) < 0 && errno != EPERM ? -errno : 0;
}

static int place_descriptors(const int fds[3])
{
    for (int i = 0; i < 3; i++)
        if (dup2(fds[i], i) < 0)
            return -1;
    return (int)syscall(SYS_close_range, 3, UINT_MAX, 0);
}

static void raise_oom_score(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : write(fd, "0", 1);

    (void)n; /* without /proc it stays as it is */
}

/* 0, or -1 and errno. */
static int prepare(const struct birth *birth)
{
    const struct spawn_exec *what = birth->what;

    if (what->dies_with_us) {
        /* Our parent may have died before this took effect. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != birth->parent)
            return -1;
    }
    if (what->plain_oom_score)
        raise_oom_score();
    umask(022);
    if (setpgid(0, 0) < 0 || place_descriptors(what->fds) < 0 ||
        (!what->is_trusted && drop_capabilities() < 0))
        return -1;
    if (what->soft_descriptors && setrlimit(RLIMIT_NOFILE, &birth->descriptors) < 0)
        return -1;
    return reset_signals();
}

/* As a shell goes on to the next directory of PATH; what is told in the end is what was there but would not
 * do. */
static int execute(const struct spawn_exec *what)
{
    int error = ENOENT;

    for (char *const *path = what->paths; *path; path++) {
        execve(*path, what->argv, what->envp);
        if (errno != ENOENT && errno != ENOTDIR)
            error = errno;
        if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
            break;
    }
    return error;
}

/* On a stack of its own; the shadow of its frames would otherwise be left in our memory. */
static int __attribute__((noinline, no_sanitize_address)) child_main(void *arg)
{
    struct birth *birth = arg;

    birth->step = SPAWN_STEP_PREPARE;
    if (prepare(birth) < 0) {
        birth->error = errno ? errno : ESRCH;
        _exit(127);
    }
    birth->step = SPAWN_STEP_DIRECTORY;
    if (chdir(birth->what->directory) < 0) {
        birth->error = errno;
        _exit(127);
    }
    birth->step = SPAWN_STEP_EXECUTE;
    birth->error = execute(birth->what);
    _exit(127);
}

/* One for each thread, which waits while a child is on it, and kept for the next. NULL: errno. */
static char *stack_top(void)
{
    static _Thread_local char *stack;

    if (!stack) {
        void *memory =
            mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
        if (memory == MAP_FAILED)
            return NULL;
        stack = memory;
    }
    return stack + STACK_SIZE;
}

int spawn_exec(const struct spawn_exec *what, struct spawn_child *ret, enum spawn_step *ret_step)
{
    struct birth birth = { .what = what, .parent = getpid(), .step = SPAWN_STEP_FORK };
    char *top = stack_top();
    int pidfd = -1;

    *ret_step = SPAWN_STEP_FORK;
    if (!top || getrlimit(RLIMIT_NOFILE, &birth.descriptors) < 0)
        return -errno;
    if (what->soft_descriptors && what->soft_descriptors < birth.descriptors.rlim_max)
        birth.descriptors.rlim_cur = what->soft_descriptors;
    for (int i = 0; i < 3; i++)
        assert(what->fds[i] > 2);
    pid_t pid = clone(child_main, top, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &birth, &pidfd);
    if (pid < 0)
        return -errno;
    if (birth.error == 0) {
        *ret = (struct spawn_child){ .pid = pid, .pidfd = pidfd };
        return 0;
    }
    close(pidfd);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    *ret_step = birth.step;
    return -birth.error;
}
