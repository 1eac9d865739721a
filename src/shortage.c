/* What services are short of; see shortage.h. */
#include "shortage.h"

#include "base/log.h"
#include "base/text.h"
#include "log_ids.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LOOK_MS 1000

enum kind_index {
    KIND_HELPERS,
    KIND_LIMIT,
    KIND_RATE,
    KIND_DESCRIPTORS,
    KIND_MEMORY,
    KIND_KERNEL,
    KIND_SOURCE,
    KINDS,
};

struct shortages {
    const struct generations *generations; /* borrows */
    void (*on_change)(void *owner);
    void *owner;
    struct loop_timer timer;
    bool adopted;  /* there was another master before this one */
    bool degraded; /* by one of them, as last looked */
    unsigned round;
    struct watched {
        unsigned round; /* in which it was looked at last */
        char name[64];
        struct shortage of[KINDS];
    } slots[CONF_SERVICES_MAX];
};

/* A service while it is looked at. */
struct view {
    const struct generation *g;
    const struct service *conf;
    int slot;
    uint64_t now_ms;
};

enum shortage_edge shortage_step(struct shortage *s, uint64_t now_ms, uint64_t since_ms, uint64_t clients)
{
    uint64_t before = !s->looked ? clients : s->now > clients ? 0 : s->now;

    s->looked = true;
    s->now = clients;
    if (since_ms > 0) {
        if (s->since_ms == 0) {
            s->since_ms = since_ms < now_ms ? since_ms : now_ms;
            s->before = before;
            s->most = 0;
        }
        s->last_ms = now_ms;
        if (s->told || now_ms - s->since_ms < SHORTAGE_TELL_MS)
            return SHORTAGE_NONE;
        s->told = true;
        return SHORTAGE_BEGAN;
    }
    if (s->told && now_ms - s->last_ms < SHORTAGE_OVER_MS)
        return SHORTAGE_NONE;
    enum shortage_edge edge = s->told ? SHORTAGE_ENDED : SHORTAGE_NONE;
    s->length_ms = s->last_ms - s->since_ms;
    s->told = false;
    s->since_ms = 0;
    return edge;
}

/* Figures. */

static uint64_t living(const struct view *v, size_t offset)
{
    return stats_sum_living(v->g->all->stats, v->slot, offset);
}

#define OFFSET(member)      offsetof(struct stats_service, member)
#define LIVING(v, member)   living(v, OFFSET(member))
#define EARLIEST(v, member) stats_earliest((v)->g->all->stats, (v)->slot, OFFSET(member))

static uint64_t queue(const struct view *v)
{
    return LIVING(v, queue);
}

/* Connections that wait to be accepted; of TCP only, since the kernel tells it of no other. */
static uint64_t backlog(const struct view *v)
{
    uint64_t n = 0;

    for (size_t i = 0; i < v->g->listeners.len; i++) {
        const struct listener *listener = v->g->listeners.item[i];
        struct tcp_info info = { .tcpi_unacked = 0 };
        socklen_t len = sizeof(info);

        if (v->g->listeners.service[i] == v->conf && listener->transport == TRANSPORT_TCP &&
            getsockopt(listener->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
            n += info.tcpi_unacked;
    }
    return n;
}

/* Words. */

/* One worker may have no helper free while another has. */
static void say_helpers(FILE *out, const struct view *v)
{
    unsigned long long all = LIVING(v, helpers), busy = LIVING(v, helpers_busy);

    if (all == 0)
        fputs("no helper works", out);
    else if (all == 1)
        fputs("the helper is busy", out);
    else if (busy < all)
        fprintf(out, "all helpers of a worker busy, %llu of %llu in all,", busy, all);
    else
        fprintf(out, "all %llu helpers busy", all);
}

/* Of two limits the lower one is reached. */
static void say_limit(FILE *out, const struct view *v)
{
    const struct service *conf = v->conf;

    if (conf->handler == HANDLER_PROGRAM && conf->max_programs <= conf->max_connections)
        fprintf(out, "max_programs (%lld) reached", (long long)conf->max_programs);
    else
        fprintf(out, "max_connections (%lld) reached", (long long)conf->max_connections);
}

static void say_rate(FILE *out, const struct view *v)
{
    fprintf(out, "max_connection_rate (%lld) reached", (long long)v->conf->max_connection_rate);
}

static void say_descriptors(FILE *out, const struct view *v)
{
    (void)v;
    fputs("no descriptor is free", out);
}

static void say_memory(FILE *out, const struct view *v)
{
    char size[TEXT_NUMBER_MAX];

    fprintf(out, "max_memory (%s) reached: clients are not read",
            text_print_size(size, v->g->conf->max_memory));
}

static void say_kernel(FILE *out, const struct view *v)
{
    (void)v;
    fputs("datagrams come faster than they are read,", out);
}

static void say_source(FILE *out, const struct view *v)
{
    (void)v;
    fputs("sources over their limit", out);
}

#define NONE SIZE_MAX

static const struct kind {
    void (*say)(FILE *out, const struct view *v);
    const char *over;
    size_t since;        /* workers say since when; or NONE */
    size_t grows[2];     /* counters that grow while it lasts */
    size_t costs[2];     /* counters of what it costs */
    const char *cost[2]; /* one, several */
    uint64_t (*waits)(const struct view *v);
    const char *waiting[2];
    bool degrades;
} kinds[KINDS] = {
    [KIND_HELPERS] = { .say = say_helpers,
                       .over = "helpers free again",
                       .since = OFFSET(queue_since),
                       .grows = { NONE, NONE },
                       .costs = { OFFSET(failed_queue), OFFSET(failed_queue_timeout) },
                       .cost = { "request refused", "requests refused" },
                       .waits = queue,
                       .waiting = { "request waits", "requests wait" },
                       .degrades = true },
    [KIND_LIMIT] = { .say = say_limit,
                     .over = "limit no longer reached",
                     .since = NONE,
                     .grows = { OFFSET(paused_limit), OFFSET(refused_limit) },
                     .costs = { OFFSET(refused_limit), NONE },
                     .cost = { "connection refused", "connections refused" },
                     .waits = backlog,
                     .waiting = { "connection waits", "connections wait" },
                     .degrades = true },
    [KIND_RATE] = { .say = say_rate,
                    .over = "max_connection_rate no longer reached",
                    .since = NONE,
                    .grows = { OFFSET(paused_rate), NONE },
                    .costs = { NONE, NONE },
                    .waits = backlog,
                    .waiting = { "connection waits", "connections wait" },
                    .degrades = true },
    [KIND_DESCRIPTORS] = { .say = say_descriptors,
                           .over = "descriptors free again",
                           .since = NONE,
                           .grows = { OFFSET(paused_descriptors), NONE },
                           .costs = { NONE, NONE },
                           .waits = backlog,
                           .waiting = { "connection waits", "connections wait" },
                           .degrades = true },
    [KIND_MEMORY] = { .say = say_memory,
                      .over = "clients are read again",
                      .since = OFFSET(starved_since),
                      .grows = { OFFSET(ended_memory), NONE },
                      .costs = { OFFSET(ended_memory), NONE },
                      .cost = { "connection ended", "connections ended" },
                      .degrades = true },
    [KIND_KERNEL] = { .say = say_kernel,
                      .over = "datagrams are read in time again",
                      .since = NONE,
                      .grows = { OFFSET(datagrams_kernel), NONE },
                      .costs = { OFFSET(datagrams_kernel), NONE },
                      .cost = { "datagram dropped", "datagrams dropped" },
                      .degrades = true },
    [KIND_SOURCE] = { .say = say_source,
                      .over = "no source is over its limit any more",
                      .since = NONE,
                      .grows = { OFFSET(refused_source), NONE },
                      .costs = { OFFSET(refused_source), NONE },
                      .cost = { "connection or datagram refused", "connections or datagrams refused" } },
};

static uint64_t add_up(const struct view *v, const size_t counters[2])
{
    uint64_t n = 0;

    for (int i = 0; i < 2; i++)
        if (counters[i] != NONE)
            n += stats_sum(v->g->all->stats, v->slot, counters[i]);
    return n;
}

static void print_count(FILE *out, uint64_t n, const char *const words[2])
{
    if (n > 0 && words[0])
        fprintf(out, "; %" PRIu64 " %s", n, words[n > 1]);
}

/* "all 20 helpers busy for 5 s; 180 requests wait, oldest 4.8 s; 3 requests refused" */
static void print_now(FILE *out, const struct kind *kind, const struct view *v, const struct shortage *s)
{
    uint64_t waiting = kind->waits ? kind->waits(v) : 0, oldest_ms = EARLIEST(v, queue_oldest);
    char span[TEXT_NUMBER_MAX];

    kind->say(out, v);
    fprintf(out, " for %s", text_print_duration(span, v->now_ms - s->since_ms));
    print_count(out, waiting, kind->waiting);
    if (kind->waits == queue && oldest_ms > 0 && oldest_ms < v->now_ms)
        fprintf(out, ", oldest %s", text_print_duration(span, v->now_ms - oldest_ms));
    print_count(out, s->now - s->before, kind->cost);
}

/* No helper got free: there is none. */
static bool waits_in_vain(const struct kind *kind, const struct view *v)
{
    return kind->waits == queue && LIVING(v, helpers) == 0;
}

/* "helpers free again after 74 s; 212 requests refused, at most 180 waited" */
static void print_over(FILE *out, const struct kind *kind, const struct view *v, const struct shortage *s)
{
    char span[TEXT_NUMBER_MAX];

    fprintf(out, "%s after %s", waits_in_vain(kind, v) ? "no request waits any more" : kind->over,
            text_print_duration(span, s->length_ms));
    print_count(out, s->now - s->before, kind->cost);
    if (s->most > 0)
        fprintf(out, "; at most %" PRIu64 " waited at once", s->most);
}

static void tell(enum shortage_edge edge, const struct kind *kind, const struct view *v,
                 const struct shortage *s)
{
    bool began = edge == SHORTAGE_BEGAN;
    const struct log_about about = { .id = began ? LOG_ID_SHORTAGE : LOG_ID_SHORTAGE_OVER,
                                     .service = v->conf->name };
    char text[SHORTAGE_TEXT_MAX] = "";
    FILE *out = fmemopen(text, sizeof(text), "w");

    if (!out)
        return;
    if (began)
        print_now(out, kind, v, s);
    else
        print_over(out, kind, v, s);
    fclose(out);
    log_write(began && kind->degrades ? LOG_WARNING : LOG_NOTICE, &about, "%s", text);
}

/* Since when there is one, as far as this look shows; 0: there is none. */
static uint64_t find_since(const struct kind *kind, const struct view *v, struct shortage *s)
{
    uint64_t since_ms = kind->since == NONE ? 0 : stats_earliest(v->g->all->stats, v->slot, kind->since);
    uint64_t grown = add_up(v, kind->grows);
    bool grew = s->looked && grown > s->grown;

    s->grown = grown;
    return since_ms > 0 ? since_ms : grew ? v->now_ms : 0;
}

/* True when it was told. */
static bool look_at(const struct kind *kind, const struct view *v, struct shortage *s)
{
    uint64_t since_ms = find_since(kind, v, s);
    enum shortage_edge edge = shortage_step(s, v->now_ms, since_ms, add_up(v, kind->costs));
    uint64_t waiting = s->since_ms > 0 && kind->waits ? kind->waits(v) : 0;

    if (waiting > s->most)
        s->most = waiting;
    if (edge == SHORTAGE_NONE)
        return false;
    tell(edge, kind, v, s);
    return true;
}

static struct view view_of(const struct generation *g, size_t service)
{
    return (struct view){ .g = g,
                          .conf = &g->conf->services[service],
                          .slot = g->slots[service],
                          .now_ms = loop_now(g->all->loop) };
}

/* A service that was not there at the last look. Its counters began at 0, unless it is older than we are. */
static void begin(const struct shortages *all, struct watched *w, const char *name)
{
    bool is_same = strcmp(w->name, name) == 0;

    for (int k = 0; k < KINDS; k++) {
        struct shortage *s = &w->of[k];

        *s = (struct shortage){ .now = is_same ? s->now : 0,
                                .grown = is_same ? s->grown : 0,
                                .looked = all->round > 1 || !all->adopted };
    }
    snprintf(w->name, sizeof(w->name), "%s", name);
}

static bool look_at_service(struct shortages *all, const struct view *v)
{
    struct watched *w = &all->slots[v->slot];
    bool told = false;

    if (w->round != all->round - 1 || strcmp(w->name, v->conf->name) != 0)
        begin(all, w, v->conf->name);
    w->round = all->round;
    for (int k = 0; k < KINDS; k++) {
        told |= look_at(&kinds[k], v, &w->of[k]);
        all->degraded |= kinds[k].degrades && w->of[k].told;
    }
    return told;
}

static void on_look(struct loop_timer *timer)
{
    struct shortages *all = container_of(timer, struct shortages, timer);
    const struct generation *g = all->generations->serving;
    bool told = false;

    all->round++;
    all->degraded = false;
    if (g)
        generation_count_drops(g);
    for (size_t i = 0; g && i < g->conf->n_services; i++) {
        const struct view v = view_of(g, i);

        if (v.slot >= 0)
            told |= look_at_service(all, &v);
    }
    loop_timer_set(all->generations->loop, timer, loop_now(all->generations->loop) + LOOK_MS, on_look);
    if (told)
        all->on_change(all->owner);
}

int shortages_start(const struct generations *generations, bool adopted, void (*on_change)(void *owner),
                    void *owner, struct shortages **ret)
{
    struct shortages *all = calloc(1, sizeof(*all));

    if (!all)
        return -ENOMEM;
    all->generations = generations;
    all->adopted = adopted;
    all->on_change = on_change;
    all->owner = owner;
    loop_timer_set(generations->loop, &all->timer, loop_now(generations->loop) + LOOK_MS, on_look);
    *ret = all;
    return 0;
}

void shortages_stop(struct shortages *all)
{
    if (!all)
        return;
    loop_timer_stop(all->generations->loop, &all->timer);
    free(all);
}

/* The first that is told and degrades; NULL: none. */
static const struct shortage *find_told(const struct shortages *all, const struct generation *g,
                                        size_t service, const struct kind **ret_kind)
{
    int slot = g->slots[service];

    for (int k = 0; all && all->degraded && g == all->generations->serving && slot >= 0 && k < KINDS; k++) {
        *ret_kind = &kinds[k];
        if (kinds[k].degrades && all->slots[slot].of[k].told)
            return &all->slots[slot].of[k];
    }
    return NULL;
}

bool shortages_print(const struct shortages *all, const struct generation *g, size_t service,
                     char text[SHORTAGE_TEXT_MAX])
{
    const struct kind *kind;
    const struct shortage *s = find_told(all, g, service, &kind);
    FILE *out = s ? fmemopen(text, SHORTAGE_TEXT_MAX, "w") : NULL;

    if (!out)
        return false;
    const struct view v = view_of(g, service);
    print_now(out, kind, &v, s);
    fclose(out);
    text[SHORTAGE_TEXT_MAX - 1] = '\0';
    return true;
}
