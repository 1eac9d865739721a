/*
 * sockctl bench: makes the processes that make the load, gives them the moment to begin, shows how far they
 * are, and adds up what came of it. With one process as with many, the load is made by a child, so that
 * nothing disturbs it.
 */
#include "client/bench.h"

#include "base/fd.h"
#include "base/spawn.h"
#include "client/bench_load.h"
#include "client/bench_report.h"
#include "client/clock.h"
#include "client/interrupt.h"
#include "client/say.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRESS_MS 200

struct bench {
    struct bench_plan plan;
    struct bench_tally *tallies; /* one for each process, shared */
    int ready[2], go[2];         /* pipes: the children's words, and ours to them */
    bool shows_progress;
    uint64_t shown_ns, shown_done;
};

/* Once, by hand: it says why the server cannot be reached, and tells its address. 0 or an exit status. */
static int find_server(struct bench_plan *plan)
{
    int fd = target_connect(&plan->target), r;

    if (fd < 0)
        return EXIT_REFUSED;
    plan->address_len = sizeof(plan->address);
    r = getpeername(fd, (struct sockaddr *)&plan->address, &plan->address_len);
    fd_close(&fd);
    if (r == 0)
        return 0;
    say("the server left at once: %s", strerror(errno));
    return EXIT_REFUSED;
}

static int check_descriptors(const struct bench_plan *plan)
{
    size_t limit = fd_raise_limit(NULL), each = plan->connections / plan->processes + 16;

    if (each <= limit)
        return 0;
    say("%zu connections need more descriptors than the %zu that a process may have; --processes divides "
        "them",
        plan->connections, limit);
    return EXIT_REFUSED;
}

static int run_child(struct bench *b, size_t number)
{
    struct bench_share share = { .process = number, .ready_fd = b->ready[1], .go_fd = b->go[0] };
    int r;

    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    fd_close(&b->ready[0]);
    fd_close(&b->go[1]);
    r = bench_load_run(&b->plan, &share, &b->tallies[number]);
    if (r < 0)
        say("%s", strerror(-r));
    return r < 0;
}

/* 0, or an exit status after saying why. In a child it returns its exit status and sets *RET_CHILD. */
static int start_children(struct bench *b, bool *ret_child)
{
    for (size_t i = 0; i < b->plan.processes; i++) {
        struct spawn_child child;
        int r = spawn_fork(&child);

        if (r > 0) {
            *ret_child = true;
            return run_child(b, i);
        }
        if (r < 0) {
            say("cannot make a process: %s", strerror(-r));
            return EXIT_REFUSED;
        }
        fd_close(&child.pidfd);
    }
    fd_close(&b->ready[1]);
    fd_close(&b->go[0]);
    return 0;
}

static void add_up(const struct bench *b, struct bench_tally *ret)
{
    for (size_t i = 0; i < b->plan.processes; i++) {
        const struct bench_tally *t = &b->tallies[i];

        ret->done += t->done;
        ret->failed += t->failed;
        ret->bytes_in += t->bytes_in;
        ret->bytes_out += t->bytes_out;
        ret->cpu_ns += t->cpu_ns;
        if (ret->began_ns == 0 || t->began_ns < ret->began_ns)
            ret->began_ns = t->began_ns;
        if (t->ended_ns > ret->ended_ns)
            ret->ended_ns = t->ended_ns;
        for (int e = 0; e < BENCH_ERRORS; e++)
            ret->errors[e] += t->errors[e];
        histogram_merge(&ret->latency, &t->latency);
    }
}

static void show_progress(struct bench *b, uint64_t began_ns)
{
    uint64_t done = 0, failed = 0, now = clock_ns();

    if (!b->shows_progress || now < b->shown_ns + PROGRESS_MS * UINT64_C(1000000))
        return;
    for (size_t i = 0; i < b->plan.processes; i++) {
        done += atomic_load_explicit(&b->tallies[i].done, memory_order_relaxed);
        failed += atomic_load_explicit(&b->tallies[i].failed, memory_order_relaxed);
    }
    fprintf(stderr, "\r%5.1f s  %10.0f requests/s  %llu failed\033[K", (double)(now - began_ns) / 1e9,
            (double)(done - b->shown_done) * 1e9 / (double)(now - b->shown_ns), (unsigned long long)failed);
    b->shown_ns = now;
    b->shown_done = done;
}

static void end_progress(const struct bench *b)
{
    if (b->shows_progress)
        fprintf(stderr, "\r\033[K");
}

/* Waits until N children are ready, or, for all but the first time, until they have ended. */
static void wait_for_children(struct bench *b, size_t n, uint64_t began_ns)
{
    struct pollfd wait = { .fd = b->ready[0], .events = POLLIN };
    char byte;

    while (n > 0 && !interrupt_seen) {
        int r = poll(&wait, 1, PROGRESS_MS);

        if (r > 0 && read(wait.fd, &byte, 1) <= 0)
            return;
        if (r > 0)
            n--;
        if (began_ns)
            show_progress(b, began_ns);
    }
}

/* Gives the word, and waits until all is over; an interrupt ends it early. */
static void conduct(struct bench *b)
{
    uint64_t at;

    wait_for_children(b, b->plan.processes, 0);
    at = clock_ns();
    b->shown_ns = at;
    for (size_t i = 0; i < b->plan.processes && !interrupt_seen; i++)
        if (write(b->go[1], &at, sizeof(at)) < 0)
            break;
    wait_for_children(b, SIZE_MAX, at);
    end_progress(b);
    fd_close(&b->go[1]);
}

/* 0, or an exit status when one of them failed. */
static int await_children(const struct bench *b)
{
    int status, failed = 0;

    for (size_t i = 0; i < b->plan.processes; i++) {
        while (wait(&status) < 0 && errno == EINTR)
            ;
        failed |= !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }
    if (failed)
        say("a process of the load failed");
    return failed ? EXIT_REFUSED : 0;
}

static int open_pipes(struct bench *b)
{
    size_t size = b->plan.processes * sizeof(*b->tallies);

    b->tallies = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b->tallies != MAP_FAILED && pipe2(b->ready, O_CLOEXEC) == 0 && pipe2(b->go, O_CLOEXEC) == 0)
        return 0;
    say("%s", strerror(errno));
    return EXIT_REFUSED;
}

/* The load, and its report. In a child *RET_CHILD is set, and nothing else is to be done. */
static int run(struct bench *b, bool json, bool *ret_child)
{
    struct bench_tally *sum = calloc(1, sizeof(*sum));
    int status = sum ? open_pipes(b) : EXIT_REFUSED;

    if (status == 0)
        status = start_children(b, ret_child);
    if (status == 0 && !*ret_child) {
        interrupt_catch(SIGINT);
        interrupt_catch(SIGTERM);
        conduct(b);
        status = await_children(b);
    }
    if (status == 0 && !*ret_child) {
        add_up(b, sum);
        status = bench_report(&b->plan, sum, json);
    }
    free(sum);
    return status;
}

int bench_run(struct options *o)
{
    struct bench b = { .ready = { -1, -1 }, .go = { -1, -1 } };
    bool is_child = false;
    int status = bench_plan_init(&b.plan, o);

    b.shows_progress = !o->quiet && isatty(STDERR_FILENO);
    if (status == 0)
        status = check_descriptors(&b.plan);
    if (status == 0)
        status = find_server(&b.plan);
    if (status == 0)
        status = run(&b, o->json, &is_child);
    for (int i = 0; i < 2; i++) {
        fd_close(&b.ready[i]);
        fd_close(&b.go[i]);
    }
    bench_plan_done(&b.plan);
    return status;
}
