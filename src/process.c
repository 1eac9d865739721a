/* The life of one worker, spawner or exporter process, from the fork to the wait. */
#include "process.h"

#include "base/fd.h"
#include "base/log.h"
#include "base/spawn.h"
#include "log_ids.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Between SIGABRT and SIGKILL: time for a core file to begin. */
#define ABORT_GRACE_MS 1000
/* Between CHANNEL_KILL and SIGKILL: time for the spawner to kill what it has started. */
#define SPAWNER_GRACE_MS 500

void process_init(struct process *p, const struct process_hooks *hooks, struct loop *loop,
                  struct stats *stats, unsigned number)
{
    *p = (struct process){
        .hooks = hooks,
        .loop = loop,
        .stats = stats,
        .number = number,
        .pidfd = -1,
        .channel_fd = -1,
        .channel = { .fd = -1 },
        .page = -1,
    };
}

char *process_print(char buf[PROCESS_NAME_MAX], const struct process *p)
{
    char name[24] = "spawner";

    if (p->number == PROCESS_EXPORTER)
        snprintf(name, sizeof(name), "exporter");
    else if (!process_is_spawner(p))
        snprintf(name, sizeof(name), "worker %u", p->number);
    if (p->pid)
        snprintf(buf, PROCESS_NAME_MAX, "%s [pid %d]", name, (int)p->pid);
    else
        snprintf(buf, PROCESS_NAME_MAX, "%s", name);
    return buf;
}

struct log_about process_about(const struct process *p, const char *id)
{
    bool worker = !process_is_spawner(p) && p->number != PROCESS_EXPORTER;

    return (struct log_about){ .id = id, .worker = worker ? p->number : 0, .generation = p->generation };
}

static void close_channel(struct process *p)
{
    loop_remove(p->loop, &p->channel);
    fd_close(&p->channel_fd);
}

/* Takes FD, which came with the message. */
static void on_word(struct process *p, const struct channel_message *message, int fd)
{
    char name[PROCESS_NAME_MAX];

    switch (message->word) {
    case CHANNEL_READY:
        if (!p->ready) {
            p->ready = true;
            p->hooks->on_ready(p);
        }
        break;
    case CHANNEL_LEFT:
        if (!p->left) {
            p->left = true;
            p->hooks->on_left(p);
        }
        break;
    case CHANNEL_TROUBLE:
        p->hooks->on_trouble(p, message->value, message->text);
        break;
    case CHANNEL_WELL:
        p->hooks->on_trouble(p, message->value, NULL);
        break;
    case CHANNEL_LISTING:
        p->hooks->on_listing(p, message->value, fd);
        fd = -1;
        break;
    case CHANNEL_SCRAPE:
        if (p->hooks->on_scrape)
            p->hooks->on_scrape(p, message->value);
        break;
    case CHANNEL_PONG:
        break;
    default:
        log_debug("%s said the unknown word %u", process_print(name, p), message->word);
    }
    fd_close(&fd);
}

static void on_channel(struct loop_source *source, uint32_t events)
{
    struct process *p = container_of(source, struct process, channel);
    struct channel_message message;
    int r = 1, fd;

    (void)events;
    /* A process that floods us does not get all of our time. */
    for (int i = 0; i < 16 && p->channel_fd >= 0; i++) {
        r = channel_receive(p->channel_fd, &message, &fd);
        if (r != 1)
            break;
        p->asked_ms = 0;
        on_word(p, &message, fd);
    }
    /* Its end will be reaped; one that only closed the channel falls silent. */
    if (p->channel_fd >= 0 && r != 1 && r != -EAGAIN && r != -EPROTO)
        close_channel(p);
}

/* All that the process had is gone; it may be started again. */
static void forget(struct process *p)
{
    close_channel(p);
    loop_timer_stop(p->loop, &p->kill_timer);
    fd_close(&p->pidfd);
    if (p->page >= 0)
        stats_fold_page(p->stats, p->page);
    p->page = -1;
    p->pid = 0;
    p->ready = p->left = p->aborted = false;
}

static void gone(struct process *p, int status)
{
    const struct stats_page *page = p->page >= 0 ? stats_page(p->stats, p->page) : NULL;
    bool worked = page && stats_get(&page->jobs) > 0;
    uint64_t untold = page ? stats_get(&page->log_untold) : 0;
    pid_t pid = p->pid;

    p->was_silent = p->aborted;
    if (pid != getpid() && untold <= UINT32_MAX) /* more is none: a plug-in wrote over it */
        log_add_losses(untold);
    forget(p);
    p->hooks->on_gone(p, pid, status, worked);
}

void process_reaped(struct process *p, int status)
{
    assert(process_lives(p));
    gone(p, status);
}

static void on_embedded_gone(void *owner)
{
    gone(owner, 0);
}

static int embed(struct process *p, const struct worker_setup *setup)
{
    struct worker *worker;

    int r = worker_embed(setup, p->loop, on_embedded_gone, p, &worker);
    if (r == 0)
        p->pid = getpid();
    return r;
}

/* In the child. */
static int work(const struct process_job *job)
{
    if (job->exporter)
        return exporter_main(job->exporter);
    return job->worker ? worker_main(job->worker) : spawner_main(job->spawner);
}

static int fork_process(struct process *p, const struct process_job *job, int log_level)
{
    struct spawn_child child;

    int r = spawn_fork(&child);
    if (r == 1) {
        log_set_level(log_level);
        exit(work(job));
    }
    if (r < 0)
        return r;
    p->pid = child.pid;
    p->pidfd = child.pidfd;
    return 0;
}

static int start_job(struct process *p, const struct process_job *job, int channel_fd, int log_level,
                     bool embedded)
{
    if (job->exporter) {
        struct exporter_setup setup = *job->exporter;

        setup.channel_fd = channel_fd;
        return fork_process(p, &(struct process_job){ .exporter = &setup }, log_level);
    }
    if (job->spawner) {
        struct spawner_setup setup = *job->spawner;

        setup.page = p->page;
        setup.channel_fd = channel_fd;
        return fork_process(p, &(struct process_job){ .spawner = &setup }, log_level);
    }
    assert(job->worker);
    struct worker_setup setup = *job->worker;
    setup.page = p->page;
    setup.number = p->number;
    setup.channel_fd = channel_fd;
    return embedded ? embed(p, &setup)
                    : fork_process(p, &(struct process_job){ .worker = &setup }, log_level);
}

int process_start(struct process *p, const struct process_job *job, int log_level, bool embedded)
{
    bool taken = false; /* the other end of the channel */
    int pair[2];

    assert(!process_lives(p));
    int page = stats_take_page(p->stats);
    if (page < 0)
        return page;
    int r = fd_channel(pair);
    if (r < 0) {
        stats_fold_page(p->stats, page);
        return r;
    }
    p->page = page;
    p->channel_fd = pair[0];
    p->started_ms = loop_now(p->loop);
    p->asked_ms = 0;
    r = loop_add(p->loop, &p->channel, p->channel_fd, EPOLLIN, on_channel);
    if (r == 0) {
        taken = embedded && job->worker;
        r = start_job(p, job, pair[1], log_level, embedded);
    }
    if (!taken)
        fd_close(&pair[1]);
    if (r < 0)
        forget(p);
    return r;
}

static void on_kill(struct loop_timer *timer)
{
    struct process *p = container_of(timer, struct process, kill_timer);

    if (p->pidfd >= 0)
        spawn_signal(p->pidfd, SIGKILL);
}

int process_adopt(struct process *p, const struct process *kept)
{
    assert(!process_lives(p));
    if (kept->channel_fd >= 0) {
        int r = loop_add(p->loop, &p->channel, kept->channel_fd, EPOLLIN, on_channel);
        if (r < 0)
            return r;
    }
    p->pid = kept->pid;
    p->pidfd = kept->pidfd;
    p->channel_fd = kept->channel_fd;
    p->page = kept->page;
    p->ready = kept->ready;
    p->left = kept->left;
    p->aborted = kept->aborted;
    p->started_ms = kept->started_ms;
    if (p->aborted)
        loop_timer_set(p->loop, &p->kill_timer, loop_now(p->loop) + ABORT_GRACE_MS, on_kill);
    return 0;
}

void process_kill(struct process *p)
{
    bool told = process_lives(p) && process_is_spawner(p) && p->channel_fd >= 0 &&
                channel_send(p->channel_fd, CHANNEL_KILL, 0) == 0;

    if (told)
        loop_timer_set(p->loop, &p->kill_timer, loop_now(p->loop) + SPAWNER_GRACE_MS, on_kill);
    else if (p->pidfd >= 0)
        spawn_signal(p->pidfd, SIGKILL);
}

int process_give(struct process *p, enum channel_word word, uint32_t value, int descriptor)
{
    if (!process_lives(p) || p->channel_fd < 0)
        return -ENOTCONN;
    return channel_send_fd(p->channel_fd, word, value, descriptor);
}

void process_tell_set(const struct process *p, enum channel_word word, const bool *set, size_t n)
{
    if (process_lives(p) && p->channel_fd >= 0)
        channel_send_set(p->channel_fd, word, set, n);
}

void process_tell(struct process *p, enum channel_word word, uint32_t value)
{
    struct log_about about = process_about(p, LOG_ID_GENERATION_LATE);
    char name[PROCESS_NAME_MAX];
    int r = process_give(p, word, value, -1);

    /* One that has closed its end is going already. */
    if (r == -EAGAIN && (word == CHANNEL_RETIRE || word == CHANNEL_DRAIN)) {
        log_write(LOG_WARNING, &about, "%s does not read that it is to leave; killed",
                  process_print(name, p));
        process_kill(p);
    }
}

void process_watch(struct process *p, uint64_t timeout_ms)
{
    struct log_about about = process_about(p, LOG_ID_PROCESS_SILENT);
    char name[PROCESS_NAME_MAX];

    if (!process_lives(p) || p->pidfd < 0 || p->aborted)
        return;
    if (p->asked_ms == 0)
        p->asked_ms = loop_now(p->loop);
    uint64_t silent_ms = loop_now(p->loop) - p->asked_ms;
    if (silent_ms < timeout_ms) {
        process_tell(p, CHANNEL_PING, 0);
        return;
    }
    log_write(LOG_WARNING, &about, "%s was silent for %.1f s; ended", process_print(name, p),
              (double)silent_ms / 1000);
    p->aborted = true;
    spawn_signal(p->pidfd, SIGABRT);
    loop_timer_set(p->loop, &p->kill_timer, loop_now(p->loop) + ABORT_GRACE_MS, on_kill);
}

void process_forgive(struct process *p)
{
    p->asked_ms = 0;
}

uint64_t process_connections(const struct process *p)
{
    const struct stats_page *page = p->page >= 0 ? stats_page(p->stats, p->page) : NULL;

    return page ? stats_get(&page->connections) : 0;
}
