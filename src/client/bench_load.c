/*
 * When requests begin and when all is over; see bench_load.h. In the closed loop a request follows a reply.
 * In the open loop (-R) all are planned ahead, and one that has to wait for its turn began when it was
 * planned: so that a server that stalls cannot hide it.
 */
#include "client/bench_load.h"

#include "base/fd.h"
#include "client/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* A connection that failed is made anew after so long. */
#define REST_MS 10

static uint64_t read_cpu(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void end_now(struct bench_load *load)
{
    load->over = true;
    load->due = 0;
    loop_quit(&load->loop);
}

static void on_drained_too_long(struct loop_timer *timer)
{
    struct bench_load *load = container_of(timer, struct bench_load, drain_timer);

    for (size_t i = 0; i < load->n_conns; i++)
        bench_conn_give_up(&load->conns[i]);
    end_now(load);
}

void bench_load_check_end(struct bench_load *load)
{
    if (load->over && load->in_flight == 0 && load->due == 0)
        loop_quit(&load->loop);
}

/* No further request begins, but for those that are due already; what is under way is waited for. */
static void begin_end(struct bench_load *load)
{
    uint64_t limit_ms = load->plan->target.timeout_ms;

    if (load->over)
        return;
    load->over = true;
    if (limit_ms)
        loop_timer_set(&load->loop, &load->drain_timer, loop_now(&load->loop) + limit_ms,
                       on_drained_too_long);
    bench_load_check_end(load);
}

static void on_end(struct loop_timer *timer)
{
    struct bench_load *load = container_of(timer, struct bench_load, end_timer);

    if (load->tally->ended_ns < load->end_ns)
        load->tally->ended_ns = load->end_ns;
    begin_end(load);
}

/* One of those that may begin is taken away; false when there is none. */
static bool take_turn(struct bench_load *load, uint64_t start_ns)
{
    if (load->over || start_ns >= load->end_ns)
        return false;
    if (start_ns < load->began_ns)
        return true;
    if (load->left == 0)
        return false;
    if (load->left != UINT64_MAX)
        load->left--;
    return true;
}

static uint64_t planned_ns(const struct bench_load *load, uint64_t number)
{
    return load->origin_ns + (uint64_t)((double)number * 1e9 / load->plan->rate);
}

bool bench_load_begin(struct bench_load *load, struct bench_conn *conn, uint64_t now_ns, uint64_t *ret_start)
{
    if (!load->running)
        return false;
    if (load->plan->rate > 0) {
        if (conn->due == 0)
            return false;
        conn->due--;
        load->due--;
        *ret_start = planned_ns(load, conn->number);
        conn->number += load->n_conns * load->plan->processes;
        return true;
    }
    if (!take_turn(load, now_ns)) {
        if (now_ns >= load->began_ns)
            begin_end(load);
        return false;
    }
    *ret_start = now_ns;
    return true;
}

static void wait_for_planned(struct bench_load *load, uint64_t at_ns)
{
    struct itimerspec when = { .it_value = { .tv_sec = (time_t)(at_ns / 1000000000),
                                             .tv_nsec = (long)(at_ns % 1000000000) } };

    timerfd_settime(load->clock.fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Requests are planned in turn for each connection. Setting the clock anew makes it unreadable again. */
static void on_clock(struct loop_source *source, uint32_t events)
{
    struct bench_load *load = container_of(source, struct bench_load, clock);
    uint64_t now = clock_ns(), next;

    (void)events;
    while ((next = planned_ns(load, load->first + load->planned * load->plan->processes)) <= now) {
        struct bench_conn *conn = &load->conns[load->planned % load->n_conns];

        if (!take_turn(load, next)) {
            loop_remove(&load->loop, source);
            begin_end(load);
            return;
        }
        load->planned++;
        load->due++;
        conn->due++;
        bench_conn_pump(conn, now);
    }
    wait_for_planned(load, next);
}

static int start_clock(struct bench_load *load)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int r = fd < 0 ? -errno : loop_add(&load->loop, &load->clock, fd, EPOLLIN, on_clock);

    if (r < 0)
        return r;
    for (size_t i = 0; i < load->n_conns; i++)
        load->conns[i].number = load->first + i * load->plan->processes;
    wait_for_planned(load, planned_ns(load, load->first));
    return 0;
}

static void on_measure(struct loop_timer *timer)
{
    struct bench_load *load = container_of(timer, struct bench_load, measure_timer);

    load->cpu_began_ns = read_cpu();
}

static void begin(struct bench_load *load, uint64_t at_ns)
{
    const struct bench_plan *plan = load->plan;

    load->running = true;
    load->origin_ns = at_ns;
    load->began_ns = at_ns + plan->warm_up_ns;
    load->end_ns = plan->duration_ns == UINT64_MAX ? UINT64_MAX : load->began_ns + plan->duration_ns;
    load->tally->began_ns = load->tally->ended_ns = load->began_ns;
    load->cpu_began_ns = read_cpu();
    if (plan->warm_up_ns)
        loop_timer_set(&load->loop, &load->measure_timer, load->began_ns / 1000000, on_measure);
    if (load->end_ns != UINT64_MAX)
        loop_timer_set(&load->loop, &load->end_timer, load->end_ns / 1000000 + 1, on_end);
    if (plan->rate > 0) {
        if (start_clock(load) < 0)
            end_now(load);
        return;
    }
    for (size_t i = 0; i < load->n_conns && !load->over; i++)
        bench_conn_pump(&load->conns[i], clock_ns());
}

/* The time to begin; then, or instead, the end of who told it: the load was interrupted. The pipe holds a
 * word for each process. */
static void on_go(struct loop_source *source, uint32_t events)
{
    struct bench_load *load = container_of(source, struct bench_load, go);
    uint64_t at_ns;

    if (!load->running && (events & EPOLLIN) && read(source->fd, &at_ns, sizeof(at_ns)) == sizeof(at_ns)) {
        loop_change(&load->loop, source, EPOLLHUP);
        begin(load, at_ns);
        return;
    }
    loop_remove(&load->loop, source);
    end_now(load);
}

void bench_load_settled(struct bench_load *load)
{
    if (++load->n_settled == load->n_conns && write(load->ready_fd, "", 1) < 0)
        end_now(load);
}

/* The part of N that process I of K has. */
static uint64_t part(uint64_t n, size_t i, size_t k)
{
    return n / k + (i < n % k);
}

static int init(struct bench_load *load, const struct bench_share *share)
{
    const struct bench_plan *plan = load->plan;
    int r = loop_init(&load->loop);

    if (r < 0)
        return r;
    load->n_conns = part(plan->connections, share->process, plan->processes);
    load->left =
        plan->requests == UINT64_MAX ? UINT64_MAX : part(plan->requests, share->process, plan->processes);
    load->first = share->process;
    load->ready_fd = share->ready_fd;
    load->conns = calloc(load->n_conns, sizeof(*load->conns));
    load->starts = calloc(load->n_conns * plan->depth, sizeof(*load->starts));
    load->scratch = malloc(BENCH_SCRATCH);
    if (!load->conns || !load->starts || !load->scratch)
        return -ENOMEM;
    deadlines_init(&load->silence, &load->loop, plan->target.timeout_ms, bench_conn_on_silence, load);
    deadlines_init(&load->rest, &load->loop, REST_MS, bench_conn_on_rested, load);
    for (size_t i = 0; i < load->n_conns; i++)
        bench_conn_init(&load->conns[i], load, load->starts + i * plan->depth);
    return loop_add(&load->loop, &load->go, share->go_fd, EPOLLIN, on_go);
}

static void done(struct bench_load *load)
{
    int fd = load->clock.fd;

    for (size_t i = 0; load->conns && i < load->n_conns; i++)
        bench_conn_done(&load->conns[i]);
    loop_remove(&load->loop, &load->clock);
    fd_close(&fd);
    loop_done(&load->loop);
    free(load->conns);
    free(load->starts);
    free(load->scratch);
}

int bench_load_run(const struct bench_plan *plan, const struct bench_share *share, struct bench_tally *tally)
{
    struct bench_load load = { .plan = plan, .tally = tally, .go.fd = -1, .clock.fd = -1 };
    int r = init(&load, share);

    for (size_t i = 0; r == 0 && i < load.n_conns; i++) {
        if (plan->new_connections)
            bench_load_settled(&load);
        else
            bench_conn_open(&load.conns[i]);
    }
    if (r == 0)
        r = loop_run(&load.loop);
    if (r == 0)
        tally->cpu_ns = read_cpu() - load.cpu_began_ns;
    done(&load);
    return r;
}
