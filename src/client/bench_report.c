/* The report of a load; see bench_report.h. */
#include "client/bench_report.h"

#include "base/text.h"
#include "client/print.h"
#include "client/say.h"

#include <stdio.h>
#include <string.h>

/* The drawn histogram. */
#define ROWS_MAX  20
#define BAR_WIDTH 50

/* A process that used more of its processor than this was probably what limited the load. */
#define BUSY 0.95

static const struct error_row {
    const char *name, *words;
} error_rows[BENCH_ERRORS] = {
    [BENCH_CONNECT] = { "connect", "no connection" },
    [BENCH_TIMEOUT] = { "timeout", "no reply in time" },
    [BENCH_CLOSED] = { "closed", "connection ended by the server" },
    [BENCH_NETWORK] = { "network", "connection ended by the network" },
    [BENCH_MALFORMED] = { "malformed", "reply broke the framing or was not asked for" },
    [BENCH_MISMATCH] = { "mismatch", "reply was not the expected one" },
};

static const struct quantile_row {
    const char *name, *label;
    double fraction;
} quantile_rows[] = {
    { "p50", "p50", 0.5 },
    { "p90", "p90", 0.9 },
    { "p99", "p99", 0.99 },
    { "p99_9", "p99.9", 0.999 },
};

#define N_QUANTILES (sizeof(quantile_rows) / sizeof(quantile_rows[0]))

static double seconds_of(const struct bench_tally *t)
{
    return (double)(t->ended_ns - t->began_ns) / 1e9;
}

static double per_second(double n, double seconds)
{
    return seconds > 0 ? n / seconds : 0;
}

static const char *transport_of(const struct bench_plan *plan)
{
    if (plan->target.path[0])
        return plan->target.datagrams ? "unixgram" : "unix";
    return plan->target.datagrams ? "udp" : "tcp";
}

static const char *framing_of(const struct bench_plan *plan, char buf[FRAME_TEXT_MAX])
{
    return plan->target.datagrams ? "datagrams" : frame_print(buf, &plan->target.framing);
}

static double ms(double ns)
{
    return ns / 1e6;
}

static void print_latency(const struct histogram *h)
{
    printf("\nlatency in ms %9s %9s", "min", "mean");
    for (size_t i = 0; i < N_QUANTILES; i++)
        printf(" %9s", quantile_rows[i].label);
    printf(" %9s\n%13s %9.3f %9.3f", "max", "", ms((double)h->min), ms(histogram_mean(h)));
    for (size_t i = 0; i < N_QUANTILES; i++)
        printf(" %9.3f", ms((double)histogram_quantile(h, quantile_rows[i].fraction)));
    printf(" %9.3f\n", ms((double)h->max));
}

/* The rows of a histogram are steps of equal ratio: the finest one with which they fit. */
struct rows {
    uint64_t bound[ROWS_MAX + 1]; /* row I is from [I] to below [I + 1] */
    size_t n;
};

static void find_rows(const struct histogram *h, struct rows *ret)
{
    static const double ratios[] = { 1.25, 1.5, 2, 4, 10 };
    double last = (double)h->max;

    for (size_t i = 0; i < sizeof(ratios) / sizeof(ratios[0]); i++) {
        double bound = 1000; /* one microsecond */

        while (bound * ratios[i] <= (double)h->min)
            bound *= ratios[i];
        ret->n = 0;
        ret->bound[0] = 0;
        while (bound <= last && ret->n < ROWS_MAX - 1) {
            bound *= ratios[i];
            ret->bound[++ret->n] = (uint64_t)bound;
        }
        if (bound > last)
            break;
    }
    if (ret->n == 0)
        ret->n = 1;
    ret->bound[ret->n] = UINT64_MAX;
}

static void print_histogram(const struct histogram *h)
{
    struct rows rows;
    uint64_t most = 1;

    find_rows(h, &rows);
    for (size_t i = 0; i < rows.n; i++) {
        uint64_t n = histogram_count_between(h, rows.bound[i], rows.bound[i + 1]);
        if (n > most)
            most = n;
    }
    putchar('\n');
    for (size_t i = 0; i < rows.n; i++) {
        uint64_t n = histogram_count_between(h, rows.bound[i], rows.bound[i + 1]);
        int width = (int)((double)n / (double)most * BAR_WIDTH + 0.5);
        double upto = rows.bound[i + 1] == UINT64_MAX ? (double)h->max : (double)rows.bound[i + 1];

        printf("  to %10.3f  %6.2f %%  %.*s%s\n", ms(upto), 100 * (double)n / (double)h->count, width,
               "##################################################", n > 0 && width == 0 ? "." : "");
    }
}

static void print_text(const struct bench_plan *plan, const struct bench_tally *t)
{
    char framing[FRAME_TEXT_MAX], where[TARGET_TEXT_MAX], size[TEXT_NUMBER_MAX];
    double seconds = seconds_of(t), mega = 1e6;

    printf("%s, %s, %s; %zu connections, ", target_print(where, &plan->target), transport_of(plan),
           framing_of(plan, framing), plan->connections);
    if (plan->new_connections)
        printf("a new one per request");
    else
        printf("%zu in flight on each", plan->depth);
    if (plan->rate > 0)
        printf(", %.0f requests/s planned", plan->rate);
    printf("; messages of %s bytes\n\n", text_print_size(size, plan->message_len));
    printf("%12llu requests in %.2f s  %12.0f requests/s\n", (unsigned long long)t->done, seconds,
           per_second((double)t->done, seconds));
    printf("%12.1f MB sent  %8.1f MB/s\n", (double)t->bytes_out / mega,
           per_second((double)t->bytes_out, seconds) / mega);
    printf("%12.1f MB received %5.1f MB/s\n", (double)t->bytes_in / mega,
           per_second((double)t->bytes_in, seconds) / mega);
    printf("%12llu failed\n", (unsigned long long)t->failed);
    for (int i = 0; i < BENCH_ERRORS; i++)
        if (t->errors[i])
            printf("%16llu %s: %s\n", (unsigned long long)t->errors[i], error_rows[i].name,
                   error_rows[i].words);
    if (t->latency.count == 0)
        return;
    print_latency(&t->latency);
    print_histogram(&t->latency);
}

static void print_json_text(const char *name, const char *text)
{
    char safe[4 * TARGET_TEXT_MAX];

    text_make_safe(safe, sizeof(safe), text, strlen(text));
    printf("  \"%s\": \"", name);
    for (const char *p = safe; *p; p++)
        printf(*p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
    printf("\",\n");
}

static void print_json_plan(const struct bench_plan *plan)
{
    char framing[FRAME_TEXT_MAX], where[TARGET_TEXT_MAX];

    print_json_text("target", target_print(where, &plan->target));
    print_json_text("transport", transport_of(plan));
    print_json_text("framing", framing_of(plan, framing));
    printf("  \"connections\": %zu,\n  \"pipeline\": %zu,\n  \"processes\": %zu,\n", plan->connections,
           plan->depth, plan->processes);
    printf("  \"new_connections\": %s,\n  \"planned_rate\": %.0f,\n  \"message_bytes\": %zu,\n",
           plan->new_connections ? "true" : "false", plan->rate, plan->message_len);
}

static void print_json_latency(const struct histogram *h)
{
    struct rows rows = { .n = 0 };
    const char *comma = "";

    printf("  \"latency_us\": { \"min\": %.3f, \"mean\": %.3f", (double)h->min / 1e3,
           histogram_mean(h) / 1e3);
    for (size_t i = 0; i < N_QUANTILES; i++)
        printf(", \"%s\": %.3f", quantile_rows[i].name,
               (double)histogram_quantile(h, quantile_rows[i].fraction) / 1e3);
    printf(", \"max\": %.3f },\n  \"histogram\": [", (double)h->max / 1e3);
    if (h->count > 0)
        find_rows(h, &rows);
    for (size_t i = 0; i < rows.n; i++) {
        uint64_t upto = rows.bound[i + 1] == UINT64_MAX ? h->max : rows.bound[i + 1];

        printf("%s\n    { \"to_us\": %.3f, \"count\": %llu }", comma, (double)upto / 1e3,
               (unsigned long long)histogram_count_between(h, rows.bound[i], rows.bound[i + 1]));
        comma = ",";
    }
    printf("\n  ]\n");
}

static void print_json(const struct bench_plan *plan, const struct bench_tally *t)
{
    double seconds = seconds_of(t);
    const char *comma = "";

    printf("{\n");
    print_json_plan(plan);
    printf("  \"seconds\": %.6f,\n  \"requests\": %llu,\n  \"failed\": %llu,\n", seconds,
           (unsigned long long)t->done, (unsigned long long)t->failed);
    printf("  \"requests_per_second\": %.3f,\n", per_second((double)t->done, seconds));
    printf("  \"bytes_out\": %llu,\n  \"bytes_in\": %llu,\n", (unsigned long long)t->bytes_out,
           (unsigned long long)t->bytes_in);
    printf("  \"bytes_out_per_second\": %.3f,\n  \"bytes_in_per_second\": %.3f,\n",
           per_second((double)t->bytes_out, seconds), per_second((double)t->bytes_in, seconds));
    printf("  \"client_cpu_seconds\": %.6f,\n  \"errors\": {", (double)t->cpu_ns / 1e9);
    for (int i = 0; i < BENCH_ERRORS; i++) {
        printf("%s \"%s\": %llu", comma, error_rows[i].name, (unsigned long long)t->errors[i]);
        comma = ",";
    }
    printf(" },\n");
    print_json_latency(&t->latency);
    printf("}\n");
}

int bench_report(const struct bench_plan *plan, const struct bench_tally *tally, bool json)
{
    double seconds = seconds_of(tally);
    int status;

    if (json)
        print_json(plan, tally);
    else
        print_text(plan, tally);
    status = print_flush();
    if (status == 0 && seconds > 0.1 && plan->rate == 0 &&
        (double)tally->cpu_ns / 1e9 > BUSY * seconds * (double)plan->processes)
        say("sockctl itself was busy all the time, so the server may be faster than this; more --processes "
            "may help");
    if (tally->done == 0 && tally->failed == 0)
        say("no request was answered");
    return status ? status : tally->failed || tally->done == 0 ? EXIT_REFUSED : EXIT_WELL;
}
