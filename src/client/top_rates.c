/* Rates between two looks; see top_rates.h. */
#include "client/top_rates.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const top_order_words[TOP_ORDERS] = {
    [TOP_BY_REQUESTS] = "requests",       [TOP_BY_LATENCY] = "latency", [TOP_BY_WAITING] = "waiting",
    [TOP_BY_CONNECTIONS] = "connections", [TOP_BY_NAME] = "name",
};

double top_quantile(const uint64_t *counts, const uint64_t *bounds_us, size_t n_buckets, double fraction)
{
    uint64_t all = 0;
    double seen = 0;

    for (size_t i = 0; i < n_buckets; i++)
        all += counts[i];
    if (all == 0 || n_buckets < 2)
        return -1;
    double wanted = fraction * (double)all;
    for (size_t i = 0; i + 1 < n_buckets; i++) {
        double below = i > 0 ? (double)bounds_us[i - 1] : 0;

        if (counts[i] > 0 && seen + (double)counts[i] >= wanted)
            return (below + ((double)bounds_us[i] - below) * (wanted - seen) / (double)counts[i]) / 1000;
        seen += (double)counts[i];
    }
    return (double)bounds_us[n_buckets - 2] / 1000;
}

/* A counter that went back began anew. */
static uint64_t grown(uint64_t before, uint64_t now)
{
    return now >= before ? now - before : now;
}

static void subtract(struct top_counters *ret, const struct top_counters *before,
                     const struct top_counters *now)
{
    ret->accepted = grown(before->accepted, now->accepted);
    ret->requests = grown(before->requests, now->requests);
    ret->refused = grown(before->refused, now->refused);
    ret->failed = grown(before->failed, now->failed);
    ret->bytes_in = grown(before->bytes_in, now->bytes_in);
    ret->bytes_out = grown(before->bytes_out, now->bytes_out);
    for (size_t i = 0; i < TOP_BUCKETS_MAX; i++)
        ret->durations[i] = grown(before->durations[i], now->durations[i]);
}

static void add(struct top_counters *sum, const struct top_counters *one)
{
    sum->accepted += one->accepted;
    sum->requests += one->requests;
    sum->refused += one->refused;
    sum->failed += one->failed;
    sum->bytes_in += one->bytes_in;
    sum->bytes_out += one->bytes_out;
    for (size_t i = 0; i < TOP_BUCKETS_MAX; i++)
        sum->durations[i] += one->durations[i];
}

static struct top_rates rates_of(const struct top_counters *grew, const struct top_view *view)
{
    const struct top_sample *s = view->now;
    double per = view->seconds > 0 ? 1 / view->seconds : 0;

    return (struct top_rates){
        .accepted = (double)grew->accepted * per,
        .requests = (double)grew->requests * per,
        .refused = (double)grew->refused * per,
        .failed = (double)grew->failed * per,
        .bytes_in = (double)grew->bytes_in * per,
        .bytes_out = (double)grew->bytes_out * per,
        .p50_ms = per > 0 ? top_quantile(grew->durations, s->bounds_us, s->n_buckets, 0.5) : -1,
        .p99_ms = per > 0 ? top_quantile(grew->durations, s->bounds_us, s->n_buckets, 0.99) : -1,
    };
}

/* Services mostly stand where they stood: HINT is looked at first. */
static const struct top_service *find_service(const struct top_sample *s, const char *name, size_t hint)
{
    if (hint < s->n_services && strcmp(s->services[hint].name, name) == 0)
        return &s->services[hint];
    for (size_t i = 0; i < s->n_services; i++)
        if (strcmp(s->services[i].name, name) == 0)
            return &s->services[i];
    return NULL;
}

static const struct top_process *find_process(const struct top_sample *s, uint64_t pid)
{
    for (size_t i = 0; i < s->n_processes; i++)
        if (s->processes[i].pid == pid)
            return &s->processes[i];
    return NULL;
}

static void fill_services(struct top_view *view, const struct top_sample *before)
{
    static const struct top_counters none;
    struct top_counters all = { 0 };

    for (size_t i = 0; i < view->now->n_services; i++) {
        const struct top_service *now = &view->now->services[i];
        const struct top_service *then = before ? find_service(before, now->name, i) : NULL;
        struct top_counters grew;

        subtract(&grew, then ? &then->counters : &none, &now->counters);
        view->services[i] = (struct top_service_rates){ .now = now, .rates = rates_of(&grew, view) };
        add(&all, &grew);
        view->queue += now->queue;
        view->in_hand += now->in_hand;
        view->helpers += now->helpers;
        view->helpers_busy += now->helpers_busy;
        view->helpers_wanted += now->helpers_wanted;
    }
    view->all = rates_of(&all, view);
}

static void fill_processes(struct top_view *view, const struct top_sample *before)
{
    for (size_t i = 0; i < view->now->n_processes; i++) {
        const struct top_process *now = &view->now->processes[i];
        const struct top_process *then = before ? find_process(before, now->pid) : NULL;
        uint64_t grew = grown(then ? then->cpu_us : 0, now->cpu_us);

        view->processes[i] = (struct top_process_share){
            .now = now,
            .cpu = view->seconds > 0 && now->pid > 0 ? (double)grew / 1e6 / view->seconds : 0,
        };
    }
}

int top_view_make(struct top_view *ret, const struct top_sample *before, const struct top_sample *now)
{
    struct top_view view = {
        .now = now,
        .services = calloc(now->n_services + 1, sizeof(*view.services)),
        .processes = calloc(now->n_processes + 1, sizeof(*view.processes)),
    };

    if (!view.services || !view.processes) {
        top_view_done(&view);
        return -ENOMEM;
    }
    if (before && now->clock_ms > before->clock_ms)
        view.seconds = (double)(now->clock_ms - before->clock_ms) / 1000;
    /* Another daemon began at zero, when it was started. */
    if (before && before->pid != now->pid) {
        before = NULL;
        if (now->uptime_ms > 0 && (double)now->uptime_ms / 1000 < view.seconds)
            view.seconds = (double)now->uptime_ms / 1000;
    }
    fill_services(&view, before);
    fill_processes(&view, before);
    *ret = view;
    return 0;
}

void top_view_done(struct top_view *view)
{
    free(view->services);
    free(view->processes);
    *view = (struct top_view){ 0 };
}

static double key_of(const struct top_service_rates *s, enum top_order order)
{
    switch (order) {
    case TOP_BY_REQUESTS:
        return s->rates.requests;
    case TOP_BY_LATENCY:
        return s->rates.p99_ms;
    case TOP_BY_WAITING:
        return (double)s->now->queue;
    case TOP_BY_CONNECTIONS:
        return (double)s->now->connections;
    case TOP_BY_NAME:
    case TOP_ORDERS:
        break;
    }
    return 0;
}

static int compare(const void *one, const void *other, void *arg)
{
    const struct top_service_rates *a = one, *b = other;
    enum top_order order = *(const enum top_order *)arg;
    int serves_a = strcmp(a->now->state, "degraded") != 0, serves_b = strcmp(b->now->state, "degraded") != 0;
    double key_a = key_of(a, order), key_b = key_of(b, order);

    if (serves_a != serves_b)
        return serves_a - serves_b;
    if (key_a > key_b || key_a < key_b)
        return key_a > key_b ? -1 : 1;
    return strcmp(a->now->name, b->now->name);
}

void top_view_sort(struct top_view *view, enum top_order order)
{
    qsort_r(view->services, view->now->n_services, sizeof(*view->services), compare, &order);
}
