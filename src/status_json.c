/* The status as a JSON object. Its names are stable: programs read them. */
#include "status.h"

#include "base/log.h"
#include "base/usage.h"
#include "spawner.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static json_t *of_generations(const struct status *status)
{
    json_t *list = json_array();

    list_for_each (it, &status->generations->all) {
        const struct generation *g = container_of(it, struct generation, link);
        json_array_append_new(list, json_pack("{s:i, s:s, s:I, s:I, s:I}", "number", (int)g->number, "state",
                                              generation_state_word(g->state), "since", (json_int_t)g->since,
                                              "workers", (json_int_t)generation_workers_alive(g),
                                              "connections", (json_int_t)generation_connections(g)));
    }
    return list;
}

static json_t *of_workers(const struct generation *g)
{
    json_t *list = json_array();

    for (size_t i = 0; g && i < g->n_workers; i++) {
        const struct process *p = &g->seats[i].process;
        json_array_append_new(
            list, json_pack("{s:i, s:i, s:b, s:i, s:I, s:I}", "number", (int)p->number, "pid", (int)p->pid,
                            "ready", p->ready, "failures", (int)g->seats[i].failures, "connections",
                            (json_int_t)process_connections(p), "cpu_us", (json_int_t)usage_cpu_us(p->pid)));
    }
    return list;
}

static json_t *of_listeners(const struct generation *g, const struct service *service)
{
    json_t *list = json_array();
    char text[LISTENER_TEXT_MAX];

    for (size_t i = 0; i < g->listeners.len; i++)
        if (g->listeners.service[i] == service)
            json_array_append_new(list, json_string(listener_print(text, g->listeners.item[i])));
    return list;
}

/* Requests by how long they took, each in one bucket. */
static json_t *of_durations(const struct generation *g, size_t service)
{
    size_t offset = offsetof(struct stats_service, duration);
    json_t *list = json_array();

    for (size_t i = 0; i < STATS_BUCKETS_TIMED; i++, offset += sizeof(stats_number))
        json_array_append_new(list, json_integer((json_int_t)status_counter(g, service, offset)));
    return list;
}

static json_t *of_bounds(void)
{
    json_t *list = json_array();

#define X(us, text) json_array_append_new(list, json_integer(us));
    STATS_DURATIONS(X)
#undef X
    return list;
}

static json_t *of_service(const struct generation *g, size_t service)
{
    const struct service *s = &g->conf->services[service];
    char why[STATUS_LINE_MAX];
    unsigned wanted = s->handler == HANDLER_HELPER ? spawner_helpers(s, (unsigned)g->n_workers) : 0;
    json_t *object = json_object();

    json_object_set_new(object, "state", json_string(status_service(g, service)));
    json_object_set_new(object, "why", json_string(status_service_why(g, service, why)));
    json_object_set_new(object, "handler", json_string(handler_words[s->handler]));
    json_object_set_new(object, "listeners", of_listeners(g, s));
    json_object_set_new(object, "drained", json_boolean(g->drained[service]));
    json_object_set_new(object, "helpers_wanted", json_integer(wanted));
    json_object_set_new(object, "durations", of_durations(g, service));
    for (const struct stats_row *row = stats_rows; row->name; row++)
        json_object_set_new(object, row->name, json_integer((json_int_t)status_number(g, service, row)));
    return object;
}

static json_t *of_services(const struct generation *g)
{
    json_t *object = json_object();

    for (size_t i = 0; g && i < g->conf->n_services; i++)
        if (g->conf->services[i].enabled)
            json_object_set_new(object, g->conf->services[i].name, of_service(g, i));
    return object;
}

static json_t *of_reload(const struct reload *reload)
{
    if (!reload->last_message)
        return json_null();
    return json_pack("{s:b, s:I, s:s}", "ok", reload->last_ok, "time", (json_int_t)reload->last_time,
                     "message", reload->last_message);
}

static json_t *of_waiting_reload(const struct reload *reload)
{
    char text[RELOAD_WAIT_MAX];

    if (!reload_print_wait(text, reload)[0])
        return json_null();
    return json_pack("{s:I, s:s}", "since", (json_int_t)reload->waits_since, "message", text);
}

char *status_json(const struct status *status)
{
    const struct generation *g = status_newest(status);
    char why[STATUS_LINE_MAX];
    json_t *object = json_object();

    json_object_set_new(object, "verdict", json_string(status_word(status->verdict)));
    json_object_set_new(object, "why", json_string(status_why(status, why)));
    json_object_set_new(object, "since", json_integer((json_int_t)status->since));
    json_object_set_new(object, "version", json_string(SOCKD_VERSION));
    json_object_set_new(object, "pid", json_integer((json_int_t)getpid()));
    json_object_set_new(object, "uptime_ms", json_integer((json_int_t)usage_age_ms()));
    json_object_set_new(object, "clock_ms", json_integer((json_int_t)loop_now(status->generations->loop)));
    json_object_set_new(object, "cpu_us", json_integer((json_int_t)usage_cpu_us(getpid())));
    json_object_set_new(object, "generation", json_integer(g ? (json_int_t)g->number : 0));
    json_object_set_new(object, "generations", of_generations(status));
    json_object_set_new(object, "workers", of_workers(g));
    json_object_set_new(
        object, "spawner",
        json_integer(g && g->has_spawner ? (json_int_t)generation_spawner(g)->process.pid : 0));
    json_object_set_new(
        object, "spawner_cpu_us",
        json_integer(g && g->has_spawner ? (json_int_t)usage_cpu_us(generation_spawner(g)->process.pid) : 0));
    json_object_set_new(object, "duration_bounds_us", of_bounds());
    json_object_set_new(object, "log_level", json_string(g ? log_level_word(status_log_level(status)) : ""));
    json_object_set_new(object, "services", of_services(g));
    json_object_set_new(object, "last_reload", of_reload(status->reload));
    json_object_set_new(object, "waiting_reload", of_waiting_reload(status->reload));
    char *dump = json_dumps(object, JSON_INDENT(2)), *text = NULL;
    json_decref(object);
    if (dump && asprintf(&text, "%s\n", dump) < 0)
        text = NULL;
    free(dump);
    return text;
}
