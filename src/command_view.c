/* Services, workers, helpers, the configuration: as text for people, and as JSON whose names are stable. */
#include "command_view.h"

#include "base/text.h"
#include "base/usage.h"
#include "conf_key.h"
#include "frame.h"
#include "status.h"
#include "table.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUT_OF_MEMORY "out of memory\n"

/* Answers with TEXT and frees it; NULL: there was no memory. */
static void answer(struct control_client *client, char *text)
{
    control_answer(client, text ? CONTROL_OK : CONTROL_NO, text ? text : OUT_OF_MEMORY);
    free(text);
}

/* Answers with OBJECT and gives it back. */
static void answer_json(struct control_client *client, json_t *object)
{
    char *dump = json_dumps(object, JSON_INDENT(2)), *text = NULL;

    json_decref(object);
    if (dump && asprintf(&text, "%s\n", dump) < 0)
        text = NULL;
    free(dump);
    answer(client, text);
}

/* NULL where nothing is cut into messages: a program has its connection to itself, a datagram is one. */
static const char *framing_of(const struct service *s, char buf[FRAME_TEXT_MAX])
{
    bool old;
    const struct conf_key *key = conf_key_find(conf_keys, "framing", &old);

    return conf_key_serves(key, s) ? frame_print(buf, &s->framing) : NULL;
}

static json_t *listeners_json(const struct generation *g, const struct service *service)
{
    json_t *list = json_array();
    char text[LISTENER_TEXT_MAX];

    for (size_t i = 0; i < g->listeners.len; i++)
        if (g->listeners.service[i] == service)
            json_array_append_new(list, json_pack("{s:s, s:I}", "address",
                                                  listener_print(text, g->listeners.item[i]), "kernel_drops",
                                                  (json_int_t)g->listeners.item[i]->drops));
    return list;
}

static json_t *service_json(const struct generation *g, size_t i)
{
    const struct service *s = &g->conf->services[i];
    char framing[FRAME_TEXT_MAX], why[STATUS_LINE_MAX];

    json_t *object = json_pack("{s:s, s:s, s:s, s:s?}", "name", s->name, "state", status_service(g, i),
                               "handler", handler_words[s->handler], "framing", framing_of(s, framing));
    json_object_set_new(object, "why", json_string(status_service_why(g, i, why)));
    json_object_set_new(object, "listeners", listeners_json(g, s));
    json_object_set_new(
        object, "connections",
        json_integer((json_int_t)status_gauge(g, i, offsetof(struct stats_service, connections))));
    json_object_set_new(
        object, "requests",
        json_integer((json_int_t)status_counter(g, i, offsetof(struct stats_service, requests))));
    json_object_set_new(
        object, "in_hand",
        json_integer((json_int_t)status_gauge(g, i, offsetof(struct stats_service, in_hand))));
    return object;
}

static void add_service(struct table *t, const struct generation *g, size_t i)
{
    const struct service *s = &g->conf->services[i];
    char buf[FRAME_TEXT_MAX], *where = NULL;
    const char *framing = framing_of(s, buf);
    size_t len;
    FILE *out = open_memstream(&where, &len);

    if (out) {
        status_print_listeners(g, s, out);
        fclose(out);
    }
    table_add(t, "%s", s->name);
    table_add(t, "%s", status_service(g, i));
    table_add(t, "%" PRIu64, status_gauge(g, i, offsetof(struct stats_service, connections)));
    table_add(t, "%" PRIu64, status_gauge(g, i, offsetof(struct stats_service, in_hand)));
    table_add(t, "%" PRIu64, status_counter(g, i, offsetof(struct stats_service, requests)));
    table_add(t, "%s", handler_words[s->handler]);
    table_add(t, "%s", framing ? framing : "-");
    table_add(t, "%s", where ? where : "");
    free(where);
}

static void print_services(const struct generation *g, FILE *out)
{
    static const char *const heads[] = { "SERVICE",  "STATE",   "CONNECTIONS", "IN HAND",
                                         "REQUESTS", "HANDLER", "FRAMING",     "WHERE" };
    struct table t;
    size_t counts[2] = { 0 };
    char why[STATUS_LINE_MAX];

    for (size_t i = 0; i < g->conf->n_services; i++) {
        counts[0] += strcmp(status_service(g, i), "drained") == 0;
        counts[1] += strcmp(status_service(g, i), "degraded") == 0;
    }
    fprintf(out, "%zu service%s, %zu degraded, %zu drained\n\n", g->conf->n_services,
            g->conf->n_services == 1 ? "" : "s", counts[1], counts[0]);
    if (table_init(&t, 8, 1u << 2 | 1u << 3 | 1u << 4) < 0)
        return;
    for (size_t i = 0; i < 8; i++)
        table_add(&t, "%s", heads[i]);
    for (size_t i = 0; i < g->conf->n_services; i++)
        add_service(&t, g, i);
    table_end(&t, out);
    for (size_t i = 0; i < g->conf->n_services; i++)
        if (status_service_why(g, i, why)[0])
            fprintf(out, "\n%s: %s\n", g->conf->services[i].name, why);
}

void command_services(struct master *master, struct control_client *client, const struct control_line *line)
{
    const struct generation *g = status_newest(&master->status);
    char *text = NULL;
    size_t len;

    if (!g) {
        control_answer(client, CONTROL_NO, "there is no generation\n");
        return;
    }
    generation_count_drops(g);
    if (line->json) {
        json_t *list = json_array();
        for (size_t i = 0; i < g->conf->n_services; i++)
            json_array_append_new(list, service_json(g, i));
        answer_json(client, json_pack("{s:o}", "services", list));
        return;
    }
    FILE *out = open_memstream(&text, &len);
    if (!out) {
        answer(client, NULL);
        return;
    }
    print_services(g, out);
    answer(client, text_close(out, &text));
}

/* The spawner has no listeners to leave: it leaves with its generation. */
static bool is_leaving(const struct generation *g, const struct process *p)
{
    return process_is_spawner(p) ? generation_is_leaving(g) : p->left;
}

/* Stable words. */
static const char *process_state(const struct generation *g, const struct process *p)
{
    return !process_lives(p) ? "none" : !p->ready ? "starting" : is_leaving(g, p) ? "leaving" : "serves";
}

static uint64_t page_number(const struct process *p, size_t offset)
{
    const struct stats_page *page = p->page >= 0 ? stats_page(p->stats, p->page) : NULL;

    return page ? stats_get((const stats_number *)(const void *)((const char *)page + offset)) : 0;
}

static void add_worker(struct table *t, const struct generation *g, const struct seat *seat)
{
    const struct process *p = &seat->process;
    char age[TEXT_NUMBER_MAX], memory[TEXT_NUMBER_MAX], cpu[TEXT_NUMBER_MAX];
    uint64_t bytes = page_number(p, offsetof(struct stats_page, memory));

    table_add(t, "%u", g->number);
    if (process_is_spawner(p))
        table_add(t, "spawner");
    else
        table_add(t, "%u", p->number);
    table_add(t, "%d", (int)p->pid);
    table_add(t, "%s", process_state(g, p));
    table_add(t, "%" PRIu64, process_connections(p));
    table_add(t, "%" PRIu64, page_number(p, offsetof(struct stats_page, jobs)));
    table_add(t, "%s", text_print_size(memory, bytes));
    table_add(t, "%s", text_print_duration(cpu, usage_cpu_us(p->pid) / 1000));
    table_add(t, "%s", process_lives(p) ? text_print_duration(age, loop_now(p->loop) - p->started_ms) : "-");
}

static json_t *worker_json(const struct generation *g, const struct seat *seat)
{
    const struct process *p = &seat->process;
    uint64_t age_ms = process_lives(p) ? loop_now(p->loop) - p->started_ms : 0;

    return json_pack(
        "{s:i, s:i, s:s, s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:i}", "generation", (int)g->number, "number",
        (int)p->number, "kind", process_is_spawner(p) ? "spawner" : "worker", "pid", (int)p->pid, "state",
        process_state(g, p), "connections", (json_int_t)process_connections(p), "jobs",
        (json_int_t)page_number(p, offsetof(struct stats_page, jobs)), "memory",
        (json_int_t)page_number(p, offsetof(struct stats_page, memory)), "age_ms", (json_int_t)age_ms,
        "cpu_us", (json_int_t)usage_cpu_us(p->pid), "failures", (int)seat->failures);
}

static void workers_text(const struct generations *all, FILE *out)
{
    static const char *const heads[] = { "GENERATION", "WORKER", "PID", "STATE", "CONNECTIONS",
                                         "JOBS",       "MEMORY", "CPU", "AGE" };
    struct table t;

    if (table_init(&t, 9, 0x1f5) < 0)
        return;
    for (size_t i = 0; i < 9; i++)
        table_add(&t, "%s", heads[i]);
    list_for_each (it, &all->all) {
        const struct generation *g = container_of(it, struct generation, link);
        for (size_t i = 0; i < generation_seats(g); i++)
            add_worker(&t, g, &g->seats[i]);
    }
    table_end(&t, out);
}

void command_workers(struct master *master, struct control_client *client, const struct control_line *line)
{
    const struct generations *all = &master->generations;
    char *text = NULL;
    size_t len;

    if (line->json) {
        json_t *list = json_array();
        list_for_each (it, &all->all) {
            const struct generation *g = container_of(it, struct generation, link);
            for (size_t i = 0; i < generation_seats(g); i++)
                json_array_append_new(list, worker_json(g, &g->seats[i]));
        }
        answer_json(client, json_pack("{s:o}", "workers", list));
        return;
    }
    FILE *out = open_memstream(&text, &len);
    if (!out) {
        answer(client, NULL);
        return;
    }
    workers_text(all, out);
    answer(client, text_close(out, &text));
}

void command_config(struct master *master, struct control_client *client, const struct control_line *line)
{
    const struct generation *g = status_newest(&master->status);
    char *text = NULL;
    size_t len;
    FILE *out = g ? open_memstream(&text, &len) : NULL;

    if (!out) {
        control_answer(client, CONTROL_NO, g ? OUT_OF_MEMORY : "there is no generation\n");
        return;
    }
    conf_show(g->conf, control_is_trusted(client) ? CONF_WHOLE : CONF_PUBLIC, out);
    if (!line->json) {
        answer(client, text_close(out, &text));
        return;
    }
    bool whole = fclose(out) == 0;
    answer_json(client, json_pack("{s:i, s:s}", "generation", (int)g->number, "text", whole ? text : ""));
    free(text);
}
