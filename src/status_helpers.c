/* Who has how many helpers, and how they do; see status_helpers.h. */
#include "status_helpers.h"

#include "base/text.h"
#include "spawner.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* Of one worker or, summed up, of a service. */
struct figures {
    uint64_t wanted, helpers, busy, queue, starts, deaths;
};

static struct figures of_worker(const struct generation *g, size_t service, const struct process *worker)
{
    const struct service *conf = &g->conf->services[service];
    struct figures f = { .wanted = spawner_helpers_of(conf, worker->number, (unsigned)g->n_workers) };
    const struct stats_page *page = process_lives(worker) ? stats_page(g->all->stats, worker->page) : NULL;

    if (!page)
        return f;
    const struct stats_service *s = &page->service[g->slots[service]];
    f.helpers = stats_get(&s->helpers);
    f.busy = stats_get(&s->helpers_busy);
    f.queue = stats_get(&s->queue);
    f.starts = stats_get(&s->helper_starts);
    f.deaths = stats_get(&s->helper_deaths);
    return f;
}

/* Starts and deaths of workers that are gone count too. */
static struct figures of_service(const struct generation *g, size_t service)
{
    struct figures sum = { 0 };
    int slot = g->slots[service];

    for (size_t i = 0; i < g->n_workers; i++) {
        struct figures f = of_worker(g, service, &g->seats[i].process);

        sum.wanted += f.wanted;
        sum.helpers += f.helpers;
        sum.busy += f.busy;
        sum.queue += f.queue;
    }
    sum.starts = stats_sum(g->all->stats, slot, offsetof(struct stats_service, helper_starts));
    sum.deaths = stats_sum(g->all->stats, slot, offsetof(struct stats_service, helper_deaths));
    return sum;
}

static bool is_meant(const struct generation *g, size_t service, const struct service *one)
{
    const struct service *s = &g->conf->services[service];

    return s->enabled && s->handler == HANDLER_HELPER && (!one || s == one);
}

static void print_figures(FILE *out, const struct figures *f)
{
    fprintf(out,
            "%" PRIu64 " of %" PRIu64 " helpers work, %" PRIu64 " busy, %" PRIu64 " requests wait; %" PRIu64
            " started, %" PRIu64 " died\n",
            f->helpers, f->wanted, f->busy, f->queue, f->starts, f->deaths);
}

static void print_service(FILE *out, const struct generation *g, size_t service)
{
    struct figures f = of_service(g, service);

    fprintf(out, "%s: ", g->conf->services[service].name);
    print_figures(out, &f);
    for (size_t i = 0; g->n_workers > 1 && i < g->n_workers; i++) {
        const struct process *worker = &g->seats[i].process;

        f = of_worker(g, service, worker);
        if (f.wanted == 0)
            continue;
        fprintf(out, "  worker %u [pid %d]: ", worker->number, (int)worker->pid);
        print_figures(out, &f);
    }
}

char *status_helpers_text(const struct generation *g, const struct service *one)
{
    char *text = NULL;
    size_t len = 0, n = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    for (size_t i = 0; g && i < g->conf->n_services; i++) {
        if (!is_meant(g, i, one))
            continue;
        print_service(out, g, i);
        n++;
    }
    if (n == 0)
        fputs("no service has helpers\n", out);
    return text_close(out, &text);
}

static json_t *pack(const struct figures *f)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "wanted", (json_int_t)f->wanted, "helpers",
                     (json_int_t)f->helpers, "busy", (json_int_t)f->busy, "queue", (json_int_t)f->queue,
                     "starts", (json_int_t)f->starts, "deaths", (json_int_t)f->deaths);
}

static json_t *pack_service(const struct generation *g, size_t service)
{
    struct figures f = of_service(g, service);
    json_t *object = pack(&f), *workers = json_array();

    for (size_t i = 0; i < g->n_workers; i++) {
        const struct process *worker = &g->seats[i].process;

        f = of_worker(g, service, worker);
        json_t *entry = pack(&f);
        json_object_set_new(entry, "number", json_integer((json_int_t)worker->number));
        json_object_set_new(entry, "pid", json_integer((json_int_t)worker->pid));
        json_array_append_new(workers, entry);
    }
    json_object_set_new(object, "workers", workers);
    return object;
}

char *status_helpers_json(const struct generation *g, const struct service *one)
{
    json_t *object = json_object();
    char *text = NULL;

    for (size_t i = 0; g && i < g->conf->n_services; i++)
        if (is_meant(g, i, one))
            json_object_set_new(object, g->conf->services[i].name, pack_service(g, i));
    char *dump = json_dumps(object, JSON_INDENT(2));
    json_decref(object);
    if (dump && asprintf(&text, "%s\n", dump) < 0)
        text = NULL;
    free(dump);
    return text;
}
