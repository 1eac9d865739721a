/*
 * A plug-in that does what a request says, most of it forbidden; what is no such word comes back in upper
 * case. Its options say how its `init` goes: "abort", "loop", "exit", "error", each followed by a path: once
 * there is a file, all is well.
 */
#include "sockd-plugin.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

struct wild {
    const struct sockd_host *host;
    struct sockd_service *service;
};

static jmp_buf long_gone;

/* Deeper on the stack than anything that runs later; left by the return. */
static __attribute__((noinline)) int leave_a_trap(volatile char *above)
{
    volatile char room[64 * 1024];

    room[0] = *above;
    return setjmp(long_gone) ? 1 : room[0];
}

static void answer(struct wild *wild, struct sockd_request *request, const char *text)
{
    wild->host->reply(request, text, strlen(text));
}

static void do_crash(struct wild *wild, struct sockd_request *request)
{
    static char *volatile nowhere = (char *)1;

    (void)wild;
    (void)request;
    *nowhere = 0;
}

static void do_abort(struct wild *wild, struct sockd_request *request)
{
    (void)wild;
    (void)request;
    abort();
}

static void do_exit(struct wild *wild, struct sockd_request *request)
{
    (void)wild;
    (void)request;
    exit(0);
}

/* Those of the host with all others. */
static void do_close(struct wild *wild, struct sockd_request *request)
{
    close_range(3, UINT_MAX, 0);
    answer(wild, request, "closed");
}

static void do_loop(struct wild *wild, struct sockd_request *request)
{
    (void)wild;
    for (volatile unsigned i = 0;; i++)
        (void)request;
}

/* Neither of the two signals before SIGKILL ends it. */
static void do_loop_deaf(struct wild *wild, struct sockd_request *request)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    do_loop(wild, request);
}

static void do_mask(struct wild *wild, struct sockd_request *request)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    answer(wild, request, "masked");
}

/* Both sides answer. */
static void do_fork(struct wild *wild, struct sockd_request *request)
{
    fork();
    answer(wild, request, "forked");
}

/* Both sides come back, the child later. */
static void do_fork_late(struct wild *wild, struct sockd_request *request)
{
    pid_t pid = fork();
    int status = -1;

    if (pid > 0 && waitpid(pid, &status, 0) == pid)
        answer(wild, request, WIFEXITED(status) && WEXITSTATUS(status) == 1 ? "it ended" : "it went on");
}

static void do_longjmp(struct wild *wild, struct sockd_request *request)
{
    (void)wild;
    (void)request;
    longjmp(long_gone, 1);
}

static void do_end_thread(struct wild *wild, struct sockd_request *request)
{
    (void)wild;
    (void)request;
    pthread_exit(NULL);
}

static void do_huge(struct wild *wild, struct sockd_request *request)
{
    wild->host->reply(request, "x", SIZE_MAX / 2);
}

static void do_empty(struct wild *wild, struct sockd_request *request)
{
    wild->host->reply(request, NULL, 0);
}

static void do_twice(struct wild *wild, struct sockd_request *request)
{
    answer(wild, request, "once");
    answer(wild, request, "twice");
}

static void do_never(struct wild *wild, struct sockd_request *request)
{
    (void)wild;
    (void)request;
}

static void do_silence(struct wild *wild, struct sockd_request *request)
{
    wild->host->silence(request);
}

static void do_fail(struct wild *wild, struct sockd_request *request)
{
    wild->host->fail(request, "a \\ and\na line of its own");
}

static void do_log(struct wild *wild, struct sockd_request *request)
{
    wild->host->log(wild->service, LOG_NOTICE, "a word\nfrom the plug-in");
    answer(wild, request, "logged");
}

static void do_addresses(struct wild *wild, struct sockd_request *request)
{
    char peer[SOCKD_ADDRESS_MAX], local[SOCKD_ADDRESS_MAX], text[3 * SOCKD_ADDRESS_MAX];

    wild->host->peer(request, peer);
    wild->host->local(request, local);
    snprintf(text, sizeof text, "%s asks %s at %s", peer, wild->host->service_name(wild->service), local);
    answer(wild, request, text);
}

/* Whether the mapping of the counters at START could be written to: then it is, over all of it. */
static int scribble(uintptr_t start, uintptr_t end, int writable)
{
    void *memory = (void *)start; // NOLINT(performance-no-int-to-ptr)

    if (!writable && mprotect(memory, end - start, PROT_READ | PROT_WRITE) < 0)
        return 0;
    memset(memory, 0xff, end - start);
    return 1;
}

/* Tries all that the process has of the shared counters. */
static void do_scribble(struct wild *wild, struct sockd_request *request)
{
    int mappings = 0, written = 0, shrunk = 0;
    char line[512], path[64], text[128];
    FILE *maps = fopen("/proc/self/maps", "re");

    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char mode[8];

        if (!strstr(line, "sockd-stats") || sscanf(line, "%lx-%lx %7s", &start, &end, mode) != 3)
            continue;
        mappings++;
        written += scribble(start, end, mode[1] == 'w');
        snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", start, end);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        shrunk += fd >= 0 && ftruncate(fd, 0) == 0;
        if (fd >= 0)
            close(fd);
    }
    if (maps)
        fclose(maps);
    snprintf(text, sizeof text, "%d mappings, %d written, %d cut", mappings, written, shrunk);
    answer(wild, request, text);
}

static const struct word {
    const char *word;
    void (*run)(struct wild *wild, struct sockd_request *request);
} words[] = {
    { "crash", do_crash },
    { "close", do_close },
    { "abort", do_abort },
    { "exit", do_exit },
    { "loop", do_loop },
    { "loop deaf", do_loop_deaf },
    { "mask", do_mask },
    { "fork", do_fork },
    { "fork late", do_fork_late },
    { "longjmp", do_longjmp },
    { "end thread", do_end_thread },
    { "huge", do_huge },
    { "empty", do_empty },
    { "twice", do_twice },
    { "never", do_never },
    { "silence", do_silence },
    { "fail", do_fail },
    { "log", do_log },
    { "addresses", do_addresses },
    { "scribble", do_scribble },
};

static void upper(struct wild *wild, struct sockd_request *request, const char *data, size_t len)
{
    char *text = malloc(len + 1);

    if (!text) {
        wild->host->fail(request, "out of memory");
        return;
    }
    for (size_t i = 0; i < len; i++)
        text[i] = (char)toupper((unsigned char)data[i]);
    wild->host->reply(request, text, len);
    free(text);
}

static void handle(void *context, struct sockd_request *request)
{
    struct wild *wild = context;
    size_t len;
    const char *data = wild->host->data(request, &len);

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (len == strlen(words[i].word) && memcmp(data, words[i].word, len) == 0) {
            words[i].run(wild, request);
            return;
        }
    }
    upper(wild, request, data, len);
}

static int misbehave(const char *options)
{
    const char *path = strchr(options, ' ');

    if (!path || access(path + 1, F_OK) == 0)
        return 0;
    if (strncmp(options, "abort", 5) == 0)
        abort();
    if (strncmp(options, "exit", 4) == 0)
        exit(0);
    for (volatile unsigned i = 0; strncmp(options, "loop", 4) == 0; i++)
        ;
    return ENOTCONN;
}

static int init(const struct sockd_host *host, struct sockd_service *service, const char *options,
                void **context)
{
    int error = misbehave(options);
    volatile char above = 0;
    struct wild *wild;

    if (error)
        return error;
    wild = malloc(sizeof *wild);
    if (!wild)
        return ENOMEM;
    *wild = (struct wild){ .host = host, .service = service };
    *context = wild;
    leave_a_trap(&above);
    return 0;
}

const struct sockd_plugin sockd_plugin = {
    .size = sizeof(struct sockd_plugin),
    .abi = SOCKD_PLUGIN_ABI,
    .name = "wild",
    .init = init,
    .handle = handle,
    .fini = free,
};
