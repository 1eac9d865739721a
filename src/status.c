/* The verdict on the daemon, and its text for people. */
#include "status.h"

#include "base/log.h"
#include "base/text.h"
#include "shortage.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const verdict_words[] = {
    [VERDICT_STARTING] = "starting",
    [VERDICT_WELL] = "well",
    [VERDICT_DEGRADED] = "degraded",
    [VERDICT_STOPPING] = "stopping",
};

const char *status_word(enum verdict verdict)
{
    return verdict_words[verdict];
}

void status_init(struct status *status, const struct generations *generations, const struct reload *reload)
{
    *status = (struct status){
        .generations = generations, .reload = reload, .verdict = VERDICT_STARTING, .since = time(NULL)
    };
}

const struct generation *status_newest(const struct status *status)
{
    const struct generations *all = status->generations;

    if (all->serving)
        return all->serving;
    return list_empty(&all->all) ? NULL : container_of(all->all.prev, struct generation, link);
}

/* A place that processes died in before their first job, and that is empty or unproven. */
static const struct seat *failing_seat(const struct generation *g)
{
    for (size_t i = 0; i < generation_seats(g); i++)
        if (g->seats[i].failures > 0 && !g->seats[i].process.ready)
            return &g->seats[i];
    return NULL;
}

char *status_service_why(const struct generation *g, size_t service, char buf[STATUS_LINE_MAX])
{
    static_assert(STATUS_LINE_MAX >= SHORTAGE_TEXT_MAX, "it has room for either");
    buf[0] = '\0';
    if (g->trouble[service])
        snprintf(buf, STATUS_LINE_MAX, "%s", g->trouble[service]);
    else
        shortages_print(g->all->shortages, g, service, buf);
    return buf;
}

/* The first service that is not well, and why; -1: all are. */
static ssize_t find_trouble(const struct generation *g, char why[STATUS_LINE_MAX])
{
    for (size_t i = 0; i < g->conf->n_services; i++)
        if (status_service_why(g, i, why)[0])
            return (ssize_t)i;
    return -1;
}

static size_t count_troubles(const struct generation *g)
{
    char why[STATUS_LINE_MAX];
    size_t n = 0;

    for (size_t i = 0; i < g->conf->n_services; i++)
        n += status_service_why(g, i, why)[0] != '\0';
    return n;
}

/* "price: all 20 helpers are busy (and 2 more services)" */
static void print_troubles(const struct generation *g, size_t service, const char *why,
                           char buf[STATUS_LINE_MAX])
{
    size_t more = count_troubles(g) - 1;
    char others[48] = "";

    if (more > 0)
        snprintf(others, sizeof(others), " (and %zu more service%s)", more, more == 1 ? "" : "s");
    snprintf(buf, STATUS_LINE_MAX - strlen(others), "%s: %.180s", g->conf->services[service].name, why);
    strcat(buf, others);
}

static enum verdict judge(const struct status *status)
{
    const struct generation *g = status_newest(status);
    char why[STATUS_LINE_MAX];

    if (status->stopping)
        return VERDICT_STOPPING;
    if (g && !generation_is_leaving(g) && (failing_seat(g) || find_trouble(g, why) >= 0))
        return VERDICT_DEGRADED;
    return status->generations->serving ? VERDICT_WELL : VERDICT_STARTING;
}

void status_judge(struct status *status)
{
    enum verdict now = judge(status);

    if (now == status->verdict)
        return;
    status->verdict = now;
    status->since = time(NULL);
}

void status_look(struct status *status)
{
    list_for_each (it, &status->generations->all)
        generation_count_drops(container_of(it, struct generation, link));
    status_judge(status);
}

uint64_t status_connections(const struct status *status)
{
    uint64_t n = 0;

    list_for_each (it, &status->generations->all)
        n += generation_connections(container_of(it, struct generation, link));
    return n;
}

char *status_why(const struct status *status, char buf[STATUS_LINE_MAX])
{
    const struct generation *g = status_newest(status);
    const struct seat *seat = g ? failing_seat(g) : NULL;
    uint64_t now_ms = loop_now(status->generations->loop), n = status_connections(status);
    char pause[TEXT_NUMBER_MAX], name[PROCESS_NAME_MAX], why[STATUS_LINE_MAX];
    ssize_t service;

    buf[0] = '\0';
    if (status->stopping)
        snprintf(buf, STATUS_LINE_MAX, "%llu connection%s to finish", (unsigned long long)n,
                 n == 1 ? "" : "s");
    else if (seat && process_lives(&seat->process))
        snprintf(buf, STATUS_LINE_MAX, "%s dies at start, tried again now",
                 process_print(name, &seat->process));
    else if (seat)
        snprintf(buf, STATUS_LINE_MAX, "%s dies at start, next try in %s",
                 process_print(name, &seat->process),
                 text_print_duration(pause, seat->again.due_ms > now_ms ? seat->again.due_ms - now_ms : 0));
    else if (g && (service = find_trouble(g, why)) >= 0)
        print_troubles(g, (size_t)service, why, buf);
    return buf;
}

int status_log_level(const struct status *status)
{
    const struct generation *g = status_newest(status);

    return g ? generation_log_level(g) : status->generations->log_level;
}

const char *status_service(const struct generation *g, size_t service)
{
    if (!g->conf->services[service].enabled)
        return "disabled";
    if (g->drained[service])
        return "drained";
    char why[STATUS_LINE_MAX];

    return status_service_why(g, service, why)[0] ? "degraded" : "serves";
}

uint64_t status_counter(const struct generation *g, size_t service, size_t offset)
{
    return g->slots[service] < 0 ? 0 : stats_sum(g->all->stats, g->slots[service], offset);
}

uint64_t status_gauge(const struct generation *g, size_t service, size_t offset)
{
    return g->slots[service] < 0 ? 0 : stats_sum_living(g->all->stats, g->slots[service], offset);
}

uint64_t status_number(const struct generation *g, size_t service, const struct stats_row *row)
{
    return row->gauge ? status_gauge(g, service, row->offset) : status_counter(g, service, row->offset);
}

static uint64_t sum_requests(const struct generation *g)
{
    uint64_t n = 0;

    for (size_t i = 0; i < g->conf->n_services; i++)
        n += status_counter(g, i, offsetof(struct stats_service, requests));
    return n;
}

/* "17 connections" */
static void print_count(FILE *out, uint64_t n, const char *what)
{
    fprintf(out, "%llu %s%s", (unsigned long long)n, what, n == 1 ? "" : "s");
}

static void print_figures(const struct status *status, const struct generation *g, FILE *out)
{
    print_count(out, generation_workers_alive(g), "worker");
    fputs(", ", out);
    print_count(out, status_connections(status), "connection");
    fputs(", ", out);
    print_count(out, sum_requests(g), "request");
}

char *status_line(const struct status *status, char buf[STATUS_LINE_MAX])
{
    const struct generation *g = status_newest(status);
    char why[STATUS_LINE_MAX];
    FILE *out = fmemopen(buf, STATUS_LINE_MAX, "w");

    buf[0] = '\0';
    if (!out)
        return buf;
    status_why(status, why);
    if (status->verdict != VERDICT_WELL)
        fprintf(out, "%s: %s%s", status_word(status->verdict), why, why[0] && g ? "; " : "");
    if (g) {
        fprintf(out, "generation %u: ", g->number);
        print_figures(status, g, out);
    }
    fclose(out);
    buf[STATUS_LINE_MAX - 1] = '\0';
    return buf;
}

static void print_time(FILE *out, time_t when)
{
    char text[TEXT_NUMBER_MAX];

    fputs(text_print_moment(text, when, time(NULL)), out);
}

static void print_verdict(const struct status *status, const struct generation *g, FILE *out)
{
    char why[STATUS_LINE_MAX];

    fprintf(out, "%s since ", status_word(status->verdict));
    print_time(out, status->since);
    status_why(status, why);
    if (why[0])
        fprintf(out, ": %s", why);
    if (g) {
        fputs(why[0] ? "; " : ": ", out);
        print_figures(status, g, out);
    }
    fputc('\n', out);
}

static void print_generations(const struct status *status, FILE *out)
{
    const char *title = "generation";

    list_for_each (it, &status->generations->all) {
        const struct generation *g = container_of(it, struct generation, link);
        fprintf(out, "%-13s%u, %s: ", title, g->number, generation_state_word(g->state));
        print_count(out, generation_workers_alive(g), "worker");
        fputs(", ", out);
        print_count(out, generation_connections(g), "connection");
        fputc('\n', out);
        title = "";
    }
}

static void print_workers(const struct generation *g, FILE *out)
{
    fprintf(out, "%-13s", "workers");
    for (size_t i = 0; i < g->n_workers; i++) {
        const struct process *p = &g->seats[i].process;
        if (process_lives(p))
            fprintf(out, "%s%u [pid %d]", i ? ", " : "", p->number, (int)p->pid);
        else
            fprintf(out, "%s%u [none]", i ? ", " : "", p->number);
    }
    fputc('\n', out);
    if (g->has_spawner)
        fprintf(out, "%-13s[pid %d]\n", "spawner", (int)generation_spawner(g)->process.pid);
}

void status_print_listeners(const struct generation *g, const struct service *service, FILE *out)
{
    char text[LISTENER_TEXT_MAX];
    bool any = false;

    for (size_t i = 0; i < g->listeners.len; i++) {
        if (g->listeners.service[i] != service)
            continue;
        fprintf(out, "%s%s", any ? ", " : "", listener_print(text, g->listeners.item[i]));
        if (g->listeners.item[i]->drops > 0)
            fprintf(out, " (%u dropped by the kernel)", (unsigned)g->listeners.item[i]->drops);
        any = true;
    }
}

/* What people want to know first stands on the first line; of the other counters only those that are not
 * zero. */
static void print_service(const struct generation *g, size_t service, FILE *out)
{
    const struct service *s = &g->conf->services[service];
    char why[STATUS_LINE_MAX];

    fprintf(out, "\n%s on ", s->name);
    status_print_listeners(g, s, out);
    fputs(g->drained[service] ? ": drained\n" : "\n", out);
    if (status_service_why(g, service, why)[0])
        fprintf(out, "  degraded: %s\n", why);
    for (const struct stats_row *row = stats_rows; row->name; row++) {
        uint64_t n = status_number(g, service, row);
        bool always = row->offset == offsetof(struct stats_service, connections) ||
                      row->offset == offsetof(struct stats_service, requests);
        if (n > 0 || always)
            fprintf(out, "  %-22s%12llu  %s\n", row->name, (unsigned long long)n, row->help);
    }
}

static void print_last_reload(const struct reload *reload, FILE *out)
{
    if (!reload->last_message)
        return;
    fprintf(out, "%-13s", "last reload");
    print_time(out, reload->last_time);
    fprintf(out, ": %s\n", reload->last_message);
}

static void print_waiting_reload(const struct reload *reload, FILE *out)
{
    char text[RELOAD_WAIT_MAX];

    if (!reload_print_wait(text, reload)[0])
        return;
    fprintf(out, "%-13ssince ", "reload");
    print_time(out, reload->waits_since);
    fprintf(out, ": %s\n", text);
}

char *status_text(const struct status *status)
{
    const struct generation *g = status_newest(status);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    print_verdict(status, g, out);
    fprintf(out, "\n%-13s%s\n%-13s%d\n", "version", SOCKD_VERSION, "pid", (int)getpid());
    print_generations(status, out);
    if (g)
        print_workers(g, out);
    fprintf(out, "%-13s%s\n", "log level", log_level_word(status_log_level(status)));
    print_last_reload(status->reload, out);
    print_waiting_reload(status->reload, out);
    for (size_t i = 0; g && i < g->conf->n_services; i++)
        if (g->conf->services[i].enabled)
            print_service(g, i, out);
    return text_close(out, &text);
}
