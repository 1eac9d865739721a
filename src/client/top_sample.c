/* The status as numbers; see top_sample.h. */
#include "client/top_sample.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static uint64_t number_of(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));

    return value > 0 ? (uint64_t)value : 0;
}

static char *text_of(const json_t *object, const char *name)
{
    const char *value = json_string_value(json_object_get(object, name));

    return strdup(value ? value : "");
}

/* Of all members whose name begins so: reasons come and go with versions. */
static uint64_t sum_of(const json_t *object, const char *prefix)
{
    uint64_t sum = 0;
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)object, name,
                        value) if (strncmp(name, prefix, strlen(prefix)) == 0) sum += number_of(object, name);
    return sum;
}

static size_t take_numbers(const json_t *list, uint64_t numbers[TOP_BUCKETS_MAX])
{
    size_t n = json_array_size(list);

    for (size_t i = 0; i < n && i < TOP_BUCKETS_MAX; i++) {
        json_int_t value = json_integer_value(json_array_get(list, i));
        numbers[i] = value > 0 ? (uint64_t)value : 0;
    }
    return n < TOP_BUCKETS_MAX ? n : TOP_BUCKETS_MAX;
}

static int take_service(const char *name, const json_t *from, struct top_service *ret)
{
    *ret = (struct top_service){
        .name = strdup(name),
        .state = text_of(from, "state"),
        .why = text_of(from, "why"),
        .connections = number_of(from, "connections"),
        .in_hand = number_of(from, "in_hand"),
        .queue = number_of(from, "queue"),
        .helpers = number_of(from, "helpers"),
        .helpers_busy = number_of(from, "helpers_busy"),
        .helpers_wanted = number_of(from, "helpers_wanted"),
        .counters = { .accepted = number_of(from, "accepted"),
                      .requests = number_of(from, "requests"),
                      .refused = sum_of(from, "refused_"),
                      .failed = sum_of(from, "failed_"),
                      .bytes_in = number_of(from, "bytes_in"),
                      .bytes_out = number_of(from, "bytes_out") },
    };
    take_numbers(json_object_get(from, "durations"), ret->counters.durations);
    return ret->name && ret->state && ret->why ? 0 : -ENOMEM;
}

static int take_services(const json_t *from, struct top_sample *s)
{
    const char *name;
    json_t *value;
    int r = 0;

    s->services = calloc(json_object_size(from) + 1, sizeof(*s->services));
    if (!s->services)
        return -ENOMEM;
    json_object_foreach((json_t *)(uintptr_t)from, name, value) if (r == 0) r =
        take_service(name, value, &s->services[s->n_services++]);
    return r;
}

static int take_processes(const json_t *from, struct top_sample *s)
{
    const json_t *workers = json_object_get(from, "workers");
    size_t n = json_array_size(workers);

    s->processes = calloc(n + 2, sizeof(*s->processes));
    if (!s->processes)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        const json_t *worker = json_array_get(workers, i);
        s->processes[s->n_processes++] = (struct top_process){
            .kind = "worker",
            .number = number_of(worker, "number"),
            .pid = number_of(worker, "pid"),
            .connections = number_of(worker, "connections"),
            .cpu_us = number_of(worker, "cpu_us"),
        };
    }
    if (number_of(from, "spawner") > 0)
        s->processes[s->n_processes++] = (struct top_process){ .kind = "spawner",
                                                               .pid = number_of(from, "spawner"),
                                                               .cpu_us = number_of(from, "spawner_cpu_us") };
    s->processes[s->n_processes++] =
        (struct top_process){ .kind = "master", .pid = s->pid, .cpu_us = number_of(from, "cpu_us") };
    return 0;
}

/* Those that leave have connections too. */
static void take_generations(const json_t *from, struct top_sample *s)
{
    const json_t *list = json_object_get(from, "generations");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *g = json_array_get(list, i);
        s->connections += number_of(g, "connections");
        s->leaving += number_of(g, "number") < s->generation;
    }
}

static int take(const json_t *from, struct top_sample *s)
{
    if (!json_is_string(json_object_get(from, "verdict")))
        return -EPROTO;
    s->verdict = text_of(from, "verdict");
    s->why = text_of(from, "why");
    s->version = text_of(from, "version");
    s->since = (int64_t)number_of(from, "since");
    s->clock_ms = number_of(from, "clock_ms");
    s->uptime_ms = number_of(from, "uptime_ms");
    s->pid = number_of(from, "pid");
    s->generation = number_of(from, "generation");
    size_t n = take_numbers(json_object_get(from, "duration_bounds_us"), s->bounds_us);
    s->n_buckets = n < TOP_BUCKETS_MAX ? n + 1 : TOP_BUCKETS_MAX;
    take_generations(from, s);
    int r = take_processes(from, s);
    if (r == 0)
        r = take_services(json_object_get(from, "services"), s);
    return r < 0 || !s->verdict || !s->why || !s->version ? -ENOMEM : 0;
}

int top_sample_parse(const char *text, size_t len, struct top_sample *ret)
{
    struct top_sample s = { 0 };
    json_t *from = json_loadb(text, len, 0, NULL);
    int r = take(from, &s);

    json_decref(from);
    if (r < 0)
        top_sample_done(&s);
    else
        *ret = s;
    return r;
}

void top_sample_done(struct top_sample *s)
{
    for (size_t i = 0; i < s->n_services; i++) {
        free(s->services[i].name);
        free(s->services[i].state);
        free(s->services[i].why);
    }
    free(s->services);
    free(s->processes);
    free(s->verdict);
    free(s->why);
    free(s->version);
    *s = (struct top_sample){ 0 };
}
