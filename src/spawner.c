/* The life of the spawner, and who says what to it; see spawner.h. */
#include "spawner.h"

#include "base/fd.h"
#include "base/log.h"
#include "channel.h"
#include "log_ids.h"
#include "spawned.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

/* Between TERM and KILL when a drain has taken too long; shorter than what the master gives us then. */
#define DRAIN_GRACE_MS 500

static bool is_spawned(const struct service *service)
{
    return service->enabled && (service->handler == HANDLER_HELPER || service->handler == HANDLER_PROGRAM);
}

bool spawner_is_needed(const struct conf *conf)
{
    for (size_t i = 0; i < conf->n_services; i++)
        if (is_spawned(&conf->services[i]))
            return true;
    return false;
}

static void on_nothing_left(struct loop_timer *timer)
{
    struct spawner *spawner = container_of(timer, struct spawner, end_timer);

    bool unused = list_empty(&spawner->attached) && spawner->n_waiting == 0;

    if (spawner->leaving && (unused || spawner->killing) && spawner->n_children == 0)
        loop_quit(&spawner->loop);
}

void spawned_check_end(struct spawner *spawner)
{
    spawned_look_for_room(spawner);
    if (spawner->leaving)
        loop_timer_set(&spawner->loop, &spawner->end_timer, 0, on_nothing_left);
}

void spawned_answer(struct attached *to, const struct spawned_service *s, struct spawner_packet *packet,
                    const int *fds, int n)
{
    packet->service = s->index;
    if (spawner_line_send(&to->line, packet, fds, n) == -ENOMEM)
        log_write(LOG_ERR, &(struct log_about){ .id = LOG_ID_FAULT, .service = s->conf->name },
                  "out of memory; worker %u misses an answer", to->worker);
}

bool spawned_may_tell(struct spawned_service *s, enum service_log what)
{
    return s->conf->log >= (int)what &&
           log_limit_take(&s->recipe.lines, what == SERVICE_LOG_ERRORS ? LOG_NOTICE : LOG_INFO);
}

/* Workers. */

/* The service of a packet, if all that it says can be. */
static struct spawned_service *check(const struct attached *from, const struct spawner_packet *packet)
{
    struct spawner *spawner = from->spawner;

    if (packet->service >= spawner->n_services || !spawner->services[packet->service].conf)
        return NULL;
    struct spawned_service *s = &spawner->services[packet->service];
    if (packet->word == SPAWNER_PROGRAM)
        return s->conf->handler == HANDLER_PROGRAM ? s : NULL;
    if (packet->word != SPAWNER_HELPER && packet->word != SPAWNER_KILL)
        return NULL;
    return packet->slot < s->n_slots &&
                   spawner_slot_worker(packet->slot, spawner->setup->n_workers) == from->worker
               ? s
               : NULL;
}

static void on_packet(struct spawner_line *line, const struct spawner_packet *packet,
                      int fds[SPAWNER_FDS_MAX])
{
    struct attached *from = container_of(line, struct attached, line);
    struct spawned_service *s = check(from, packet);

    if (!s) {
        log_event(LOG_ERR, LOG_ID_FAULT,
                  "worker %u asked for what cannot be (word %" PRIu32 ", service %" PRIu32 ", slot %" PRIu32
                  ")",
                  from->worker, packet->word, packet->service, packet->slot);
    } else if (packet->word == SPAWNER_PROGRAM) {
        spawned_take_program(from, s, packet, fds[0]);
        fds[0] = -1;
    } else if (packet->word == SPAWNER_HELPER) {
        spawned_take_helper(from, s, packet->slot);
    } else {
        spawned_kill_helper(from, s, packet->slot);
    }
    for (int i = 0; i < SPAWNER_FDS_MAX; i++)
        fd_close(&fds[i]);
}

static void free_attached(struct loop_garbage *garbage)
{
    free(container_of(garbage, struct attached, garbage));
}

/* The worker's helpers end with it. */
static void detach(struct attached *attached)
{
    struct spawner *spawner = attached->spawner;

    for (size_t i = 0; i < spawner->n_services; i++)
        spawned_detach_helpers(&spawner->services[i], attached);
    list_remove(&attached->link);
    loop_free_later(&spawner->loop, &attached->garbage, free_attached);
    spawned_check_end(spawner);
}

static void on_lost(struct spawner_line *line)
{
    detach(container_of(line, struct attached, line));
}

/* Takes FD. */
static void attach(struct spawner *spawner, unsigned worker, int fd)
{
    struct attached *attached = calloc(1, sizeof(*attached));
    int r = attached ? 0 : -ENOMEM;

    if (attached) {
        attached->spawner = spawner;
        attached->worker = worker;
        spawner_line_init(&attached->line, &spawner->loop);
        attached->line.on_packet = on_packet;
        attached->line.on_lost = on_lost;
        list_init(&attached->link);
        r = spawner_line_open(&attached->line, fd);
    } else {
        fd_close(&fd);
    }
    if (r == 0) {
        list_append(&spawner->attached, &attached->link);
        return;
    }
    log_event(LOG_ERR, LOG_ID_FAULT, "cannot attach worker %u: %s", worker, strerror(-r));
    free(attached);
}

/* The end. */

static void end_all_children(struct spawner *spawner, uint64_t grace_ms)
{
    for (size_t i = 0; i < spawner->n_services; i++)
        if (spawner->services[i].conf)
            list_for_each (it, &spawner->services[i].children)
                child_end(container_of(it, struct child, link), grace_ms);
}

static void on_drain_over(struct loop_timer *timer)
{
    struct spawner *spawner = container_of(timer, struct spawner, drain_timer);

    if (spawner->n_children > 0)
        log_event(LOG_NOTICE, LOG_ID_GENERATION_LATE, "%zu process%s not ended in time; ended now",
                  spawner->n_children, spawner->n_children == 1 ? " has" : "es have");
    for (size_t i = 0; i < spawner->n_services; i++)
        if (spawner->services[i].conf)
            spawned_drop_waiting(&spawner->services[i]);
    end_all_children(spawner, DRAIN_GRACE_MS);
    spawned_check_end(spawner);
}

/* Serves on while there are workers; what runs after LIMIT_MS (0: never) is ended. */
static void leave(struct spawner *spawner, uint32_t limit_ms)
{
    spawner->leaving = true;
    if (limit_ms > 0)
        loop_timer_set(&spawner->loop, &spawner->drain_timer, loop_now(&spawner->loop) + limit_ms,
                       on_drain_over);
    spawned_check_end(spawner);
}

static void on_master_gone(struct spawner *spawner)
{
    log_event(LOG_ERR, LOG_ID_FAULT, "the master is gone; finishing what is in hand");
    loop_remove(&spawner->loop, &spawner->channel);
    fd_close(&spawner->channel_fd);
    leave(spawner, (uint32_t)spawner->setup->conf->drain_timeout);
}

static void kill_all(struct spawner *spawner)
{
    spawner->leaving = spawner->killing = true;
    for (size_t i = 0; i < spawner->n_services; i++)
        if (spawner->services[i].conf)
            spawned_drop_waiting(&spawner->services[i]);
    end_all_children(spawner, 0);
    spawned_check_end(spawner);
}

/* Takes FD, which came with the message. */
static void obey(struct spawner *spawner, const struct channel_message *message, int fd)
{
    switch (message->word) {
    case CHANNEL_PING:
        log_tell_losses();
        stats_set(&spawner->page->log_untold, log_untold());
        channel_send(spawner->channel_fd, CHANNEL_PONG, 0);
        break;
    case CHANNEL_RETIRE:
    case CHANNEL_DRAIN:
        leave(spawner, message->value);
        break;
    case CHANNEL_LOG_LEVEL:
        log_set_level((int)message->value);
        break;
    case CHANNEL_ATTACH:
        attach(spawner, message->value, fd);
        fd = -1;
        break;
    case CHANNEL_KILL:
        kill_all(spawner);
        break;
    case CHANNEL_LIST:
        spawned_list_programs(spawner, message->value);
        break;
    case CHANNEL_KILL_CONN:
        spawned_kill_program(spawner, message->value);
        break;
    }
    fd_close(&fd);
}

static void on_channel(struct loop_source *source, uint32_t events)
{
    struct spawner *spawner = container_of(source, struct spawner, channel);
    struct channel_message message;
    int r = 1, fd;

    (void)events;
    while (spawner->channel_fd >= 0 && (r = channel_receive(spawner->channel_fd, &message, &fd)) > 0)
        obey(spawner, &message, fd);
    if (spawner->channel_fd >= 0 && r != -EAGAIN)
        on_master_gone(spawner);
}

/* The beginning. */

/* Whether the kernel would end us later than others: what we start must not have that. */
static bool has_low_oom_score(void)
{
    char text[16];
    int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text));

    fd_close(&fd);
    return n > 0 && text[0] == '-';
}

static int start_service(struct spawner *spawner, size_t index, bool low_oom_score)
{
    struct spawned_service *s = &spawner->services[index];
    const struct service *conf = &spawner->setup->conf->services[index];
    int slot = spawner->setup->slots[index];

    *s = (struct spawned_service){ .spawner = spawner, .index = (uint32_t)index, .stats_slot = slot };
    if (!is_spawned(conf) || slot < 0)
        return 0;
    int r = child_recipe_init(&s->recipe, conf, &spawner->loop);
    if (r < 0)
        return r;
    s->conf = conf;
    s->stats = &spawner->page->service[slot];
    s->recipe.soft_descriptors = spawner->setup->soft_descriptors;
    s->recipe.plain_oom_score = low_oom_score;
    list_init(&s->children);
    list_init(&s->waiting);
    if (conf->handler == HANDLER_PROGRAM)
        return 0;
    s->n_slots = spawner_helpers(conf, spawner->setup->n_workers);
    s->slots = calloc(s->n_slots, sizeof(*s->slots));
    return s->slots ? 0 : -ENOMEM;
}

static int start(struct spawner *spawner)
{
    const struct spawner_setup *setup = spawner->setup;
    bool low_oom_score = has_low_oom_score();
    int r = spawner->page ? 0 : -ENOMEM;

    spawner->services = calloc(setup->conf->n_services + 1, sizeof(*spawner->services));
    if (!spawner->services)
        return -ENOMEM;
    for (; r == 0 && spawner->n_services < setup->conf->n_services; spawner->n_services++)
        r = start_service(spawner, spawner->n_services, low_oom_score);
    if (r == 0)
        r = loop_add(&spawner->loop, &spawner->channel, spawner->channel_fd, EPOLLIN, on_channel);
    spawned_init_room(spawner);
    if (r == 0)
        r = spawn_pool_open(&spawner->loop, &spawner->pool);
    if (r == 0)
        channel_send(spawner->channel_fd, CHANNEL_READY, 0);
    return r;
}

static void forget(struct spawned_service *s, struct child *child)
{
    if (child->client)
        list_append(&s->waiting, &child->client->link); /* it was being started */
    child_forget(child);
}

/* For those who look for leaks, and for lines that were not told yet. */
static void stop(struct spawner *spawner)
{
    spawn_pool_close(spawner->pool);
    list_for_each (it, &spawner->attached) {
        struct attached *attached = container_of(it, struct attached, link);
        spawner_line_close(&attached->line);
        detach(attached);
    }
    for (size_t i = 0; i < spawner->n_services; i++) {
        struct spawned_service *s = &spawner->services[i];
        if (!s->conf)
            continue;
        list_for_each (c, &s->children)
            forget(s, container_of(c, struct child, link));
        spawned_drop_waiting(s);
        child_recipe_done(&s->recipe);
        free(s->slots);
    }
    free(spawner->services);
    loop_remove(&spawner->loop, &spawner->channel);
    fd_close(&spawner->channel_fd);
    if (spawner->page)
        stats_set(&spawner->page->log_untold, log_untold());
    stats_disown(spawner->page);
}

static void close_the_rest(const struct spawner_setup *setup)
{
    int keep[] = { setup->channel_fd, log_fd() };

    fd_close_others(keep, sizeof(keep) / sizeof(keep[0]));
}

int spawner_main(const struct spawner_setup *setup)
{
    static struct spawner spawner; /* reachable, for those who look for leaks */

    log_set_process("spawner", 0, setup->generation);
    prctl(PR_SET_NAME, "sockd-spawner");
    /* No terminal for what we start. Here, once: a session for each of them halves how many can be started,
     * where the kernel has a scheduling group for every session (CONFIG_SCHED_AUTOGROUP; measured: 750
     * against 1400 a second). */
    setsid();
    spawner = (struct spawner){ .setup = setup, .channel = { .fd = -1 }, .channel_fd = setup->channel_fd };
    list_init(&spawner.attached);
    spawner.page = stats_own(setup->stats, setup->page, true);
    close_the_rest(setup);
    int r = loop_init(&spawner.loop);
    if (r == 0)
        r = start(&spawner);
    if (r == 0)
        r = loop_run(&spawner.loop);
    if (r < 0)
        log_event(LOG_ERR, LOG_ID_FAULT, "the spawner cannot go on: %s", strerror(-r));
    stop(&spawner);
    loop_done(&spawner.loop);
    return r < 0 ? EX_OSERR : 0;
}
