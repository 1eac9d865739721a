/* Prometheus text; see metrics.h. */
#include "metrics.h"

#include "base/text.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REJECTED "sockd_connections_rejected_total"
#define PAUSES   "sockd_accept_pauses_total"
#define ENDED    "sockd_connections_ended_total"
#define REQUESTS "sockd_requests_total"
#define DURATION "sockd_request_duration_seconds"
#define DROPPED  "sockd_datagrams_dropped_total"

#define REJECTED_HELP "Connections and datagrams that were refused, by reason."
#define PAUSES_HELP   "Pauses of 50 ms in accepting, by reason."
#define ENDED_HELP    "Connections that sockd or the network ended, by reason."
#define REQUESTS_HELP "Requests that are over, by outcome."
#define DROPPED_HELP  "Datagrams and replies to them that were dropped, by reason."

/* Rows of one family stand together. */
const struct metric_row metric_rows[] = {
    { "sockd_connections_accepted_total", "", "Connections accepted.", "accepted" },
    { "sockd_connections", "", "Connections open.", "connections" },
    { REJECTED, "reason=\"denied\"", REJECTED_HELP, "refused_denied" },
    { REJECTED, "reason=\"source\"", REJECTED_HELP, "refused_source" },
    { REJECTED, "reason=\"limit\"", REJECTED_HELP, "refused_limit" },
    { REJECTED, "reason=\"drained\"", REJECTED_HELP, "refused_drained" },
    { "sockd_accept_errors_total", "", "Connections lost between arrival and accept.", "accept_errors" },
    { PAUSES, "reason=\"limit\"", PAUSES_HELP, "paused_limit" },
    { PAUSES, "reason=\"rate\"", PAUSES_HELP, "paused_rate" },
    { PAUSES, "reason=\"descriptors\"", PAUSES_HELP, "paused_descriptors" },
    { ENDED, "reason=\"idle\"", ENDED_HELP, "ended_idle" },
    { ENDED, "reason=\"request\"", ENDED_HELP, "ended_request" },
    { ENDED, "reason=\"send\"", ENDED_HELP, "ended_send" },
    { ENDED, "reason=\"session\"", ENDED_HELP, "ended_session" },
    { ENDED, "reason=\"memory\"", ENDED_HELP, "ended_memory" },
    { ENDED, "reason=\"error\"", ENDED_HELP, "ended_error" },
    { ENDED, "reason=\"drain\"", ENDED_HELP, "ended_drain" },
    { ENDED, "reason=\"killed\"", ENDED_HELP, "ended_killed" },
    { ENDED, "reason=\"malformed\"", ENDED_HELP, "failed_malformed" },
    { ENDED, "reason=\"too_long\"", ENDED_HELP, "failed_too_long" },
    { "sockd_requests_received_total", "", "Requests that were complete.", "requests" },
    { REQUESTS, "outcome=\"replied\"", REQUESTS_HELP, "replies" },
    { REQUESTS, "outcome=\"silent\"", REQUESTS_HELP, "silences" },
    { REQUESTS, "outcome=\"cancelled\"", REQUESTS_HELP, "cancelled" },
    { REQUESTS, "outcome=\"handler\"", REQUESTS_HELP, "failed_handler" },
    { REQUESTS, "outcome=\"reply\"", REQUESTS_HELP, "failed_reply" },
    { REQUESTS, "outcome=\"timeout\"", REQUESTS_HELP, "failed_timeout" },
    { REQUESTS, "outcome=\"queue\"", REQUESTS_HELP, "failed_queue" },
    { REQUESTS, "outcome=\"queue_timeout\"", REQUESTS_HELP, "failed_queue_timeout" },
    { "sockd_requests_in_hand", "", "Requests with the handler.", "in_hand" },
    { "sockd_received_bytes_total", "", "Bytes received from clients.", "bytes_in" },
    { "sockd_sent_bytes_total", "", "Bytes sent to clients.", "bytes_out" },
    { "sockd_datagrams_received_total", "", "Datagrams received.", "datagrams_in" },
    { "sockd_datagrams_sent_total", "", "Datagrams sent.", "datagrams_out" },
    { DROPPED, "reason=\"sender\"", DROPPED_HELP, "datagrams_bad_sender" },
    { DROPPED, "reason=\"too_long\"", DROPPED_HELP, "datagrams_too_long" },
    { DROPPED, "reason=\"ratio\"", DROPPED_HELP, "datagrams_ratio" },
    { DROPPED, "reason=\"unsent\"", DROPPED_HELP, "datagrams_unsent" },
    { DROPPED, "reason=\"drained\"", DROPPED_HELP, "datagrams_drained" },
    { DROPPED, "reason=\"kernel\"", DROPPED_HELP, "datagrams_kernel" },
    { "sockd_programs", "", "Programs that run, or wait to.", "programs" },
    { "sockd_programs_started_total", "", "Programs started.", "programs_started" },
    { "sockd_programs_failed_total", "", "Programs that could not be started, or ended with a failure.",
      "programs_failed" },
    { "sockd_helpers", "", "Helpers that work.", "helpers" },
    { "sockd_helpers_busy", "", "Helpers with a request.", "helpers_busy" },
    { "sockd_helper_queue_requests", "", "Requests that wait for a helper.", "queue" },
    { "sockd_helper_starts_total", "", "Helpers started.", "helper_starts" },
    { "sockd_helper_deaths_total", "", "Helpers that ended without being told to.", "helper_deaths" },
    { 0 },
};

/* A unit test holds that there is one for each metric. */
static const struct stats_row *find_stat(const char *name)
{
    const struct stats_row *row = stats_rows;

    while (row->name && strcmp(row->name, name) != 0)
        row++;
    assert(row->name);
    return row;
}

static void begin_family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void print_services(FILE *out, const struct generation *g, const struct metric_row *metric)
{
    const struct stats_row *stat = find_stat(metric->stat);

    for (size_t i = 0; i < g->conf->n_services; i++)
        if (g->slots[i] >= 0)
            fprintf(out, "%s{service=\"%s\"%s%s} %" PRIu64 "\n", metric->family, g->conf->services[i].name,
                    metric->label[0] ? "," : "", metric->label, status_number(g, i, stat));
}

/* All rows of the family that ROW begins. Returns the row after them. */
static const struct metric_row *print_family(FILE *out, const struct generation *g,
                                             const struct metric_row *row)
{
    const char *family = row->family;
    bool gauge = find_stat(row->stat)->gauge;

    begin_family(out, family, gauge ? "gauge" : "counter", row->help);
    for (; row->family && strcmp(row->family, family) == 0; row++)
        print_services(out, g, row);
    return row;
}

static void print_number(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    begin_family(out, name, type, help);
    fprintf(out, "%s %" PRIu64 "\n", name, value);
}

static void print_daemon(FILE *out, const struct status *status, const struct generation *g)
{
    size_t workers = 0;

    begin_family(out, "sockd_build_info", "gauge", "The version that runs; always 1.");
    fprintf(out, "sockd_build_info{version=\"%s\"} 1\n", SOCKD_VERSION);
    print_number(out, "sockd_up", "gauge", "1 when the daemon is well, 0 when it is degraded.",
                 status->verdict == VERDICT_WELL);
    if (g) {
        workers = generation_workers_alive(g);
        print_number(out, "sockd_generation", "gauge", "The number of the generation that serves.",
                     g->number);
    }
    print_number(out, "sockd_workers", "gauge", "Worker processes of the generation that serves.", workers);
    print_number(out, "sockd_generations", "gauge", "Generations that live.",
                 generations_living(status->generations));
    begin_family(out, "sockd_reloads_total", "counter", "Reloads, by result.");
    fprintf(out, "sockd_reloads_total{result=\"ok\"} %" PRIu64 "\n", status->reload->n_ok);
    fprintf(out, "sockd_reloads_total{result=\"failed\"} %" PRIu64 "\n", status->reload->n_failed);
}

static void print_durations(FILE *out, const struct generation *g, size_t service)
{
    const char *name = g->conf->services[service].name;
    uint64_t us = status_counter(g, service, offsetof(struct stats_service, duration_us)), n = 0;

    for (size_t i = 0; i < STATS_BUCKETS_TIMED; i++) {
        n += status_counter(g, service, offsetof(struct stats_service, duration) + i * sizeof(stats_number));
        fprintf(out, DURATION "_bucket{service=\"%s\",le=\"%s\"} %" PRIu64 "\n", name,
                stats_duration_bounds[i], n);
    }
    fprintf(out, DURATION "_sum{service=\"%s\"} %" PRIu64 ".%06" PRIu64 "\n", name, us / 1000000,
            us % 1000000);
    fprintf(out, DURATION "_count{service=\"%s\"} %" PRIu64 "\n", name, n);
}

static void print_all_durations(FILE *out, const struct generation *g)
{
    begin_family(
        out, DURATION, "histogram",
        "Time from a request to its reply; what is answered at once is in the first bucket, untimed.");
    for (size_t i = 0; i < g->conf->n_services; i++)
        if (g->slots[i] >= 0)
            print_durations(out, g, i);
}

char *metrics_text(const struct status *status)
{
    const struct generation *g = status_newest(status);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    print_daemon(out, status, g);
    for (const struct metric_row *row = metric_rows; g && row->family;)
        row = print_family(out, g, row);
    if (g)
        print_all_durations(out, g);
    return text_close(out, &text);
}
