/* What top saw, as JSON; the names stay. */
#include "client/top_draw.h"

#include <jansson.h>

/* Three decimals are enough, and read well. What is so large has none that mean anything. */
static json_t *number(double value)
{
    return json_real(value < 1e12 ? (double)(int64_t)(value * 1000 + 0.5) / 1000 : value);
}

static void set_rates(json_t *object, const struct top_rates *r)
{
    json_object_set_new(object, "connections_per_second", number(r->accepted));
    json_object_set_new(object, "requests_per_second", number(r->requests));
    json_object_set_new(object, "failed_per_second", number(r->failed));
    json_object_set_new(object, "refused_per_second", number(r->refused));
    json_object_set_new(object, "bytes_in_per_second", number(r->bytes_in));
    json_object_set_new(object, "bytes_out_per_second", number(r->bytes_out));
    json_object_set_new(object, "p50_ms", r->p50_ms < 0 ? json_null() : number(r->p50_ms));
    json_object_set_new(object, "p99_ms", r->p99_ms < 0 ? json_null() : number(r->p99_ms));
}

static void set_counts(json_t *object, uint64_t connections, uint64_t in_hand, uint64_t queue,
                       uint64_t helpers, uint64_t busy, uint64_t wanted)
{
    json_object_set_new(object, "connections", json_integer((json_int_t)connections));
    json_object_set_new(object, "in_hand", json_integer((json_int_t)in_hand));
    json_object_set_new(object, "queue", json_integer((json_int_t)queue));
    json_object_set_new(object, "helpers", json_integer((json_int_t)helpers));
    json_object_set_new(object, "helpers_busy", json_integer((json_int_t)busy));
    json_object_set_new(object, "helpers_wanted", json_integer((json_int_t)wanted));
}

static json_t *of_service(const struct top_service_rates *s)
{
    json_t *object =
        json_pack("{s:s, s:s, s:s}", "name", s->now->name, "state", s->now->state, "why", s->now->why);

    set_counts(object, s->now->connections, s->now->in_hand, s->now->queue, s->now->helpers,
               s->now->helpers_busy, s->now->helpers_wanted);
    set_rates(object, &s->rates);
    return object;
}

static json_t *of_process(const struct top_process_share *p)
{
    json_t *object =
        json_pack("{s:s, s:I, s:I, s:I}", "kind", p->now->kind, "number", (json_int_t)p->now->number, "pid",
                  (json_int_t)p->now->pid, "connections", (json_int_t)p->now->connections);

    json_object_set_new(object, "cpu_percent", number(p->cpu * 100));
    return object;
}

void top_print_json(const struct top_view *view, FILE *out)
{
    const struct top_sample *now = view->now;
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:s, s:I, s:I, s:I}", "verdict", now->verdict, "why", now->why, "since",
                  (json_int_t)now->since, "version", now->version, "pid", (json_int_t)now->pid, "generation",
                  (json_int_t)now->generation, "uptime_ms", (json_int_t)now->uptime_ms);
    json_t *all = json_object(), *services = json_array(), *processes = json_array();

    json_object_set_new(object, "seconds", number(view->seconds));
    set_counts(all, now->connections, view->in_hand, view->queue, view->helpers, view->helpers_busy,
               view->helpers_wanted);
    set_rates(all, &view->all);
    json_object_set_new(object, "all", all);
    for (size_t i = 0; i < now->n_services; i++)
        json_array_append_new(services, of_service(&view->services[i]));
    json_object_set_new(object, "services", services);
    for (size_t i = 0; i < now->n_processes; i++)
        json_array_append_new(processes, of_process(&view->processes[i]));
    json_object_set_new(object, "processes", processes);
    json_dumpf(object, out, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    fputc('\n', out);
    json_decref(object);
}
