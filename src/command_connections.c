/* `sockctl connections`: who is connected, the longest wait first, and what each waits for. */
#include "base/text.h"
#include "census.h"
#include "command_view.h"
#include "table.h"

#include <inttypes.h>
#include <stdlib.h>

/* A client that waits for a census. */
struct viewer {
    struct control_client *client;
    struct census *census;
    bool json;
};

static uint64_t since(const struct census *census, uint64_t then_ms)
{
    uint64_t now_ms = loop_now(census->loop);

    return then_ms < now_ms ? now_ms - then_ms : 0;
}

/* "2 connections; the longest wait is 12 s", and what is missing. */
static void print_summary(const struct census *census, FILE *out)
{
    char wait[TEXT_NUMBER_MAX];

    fprintf(out, "%" PRIu64 " connection%s", census->total, census->total == 1 ? "" : "s");
    if (census->n_rows > 0)
        fprintf(out, "; the longest wait is %s",
                text_print_duration(wait, since(census, census->rows[0].is.since_ms)));
    if (census->n_rows < census->total)
        fprintf(out, "; %zu are shown", census->n_rows);
    fputc('\n', out);
    for (size_t i = 0; i < census->n_asked; i++) {
        const struct census_asked *asked = &census->asked[i];
        char name[32] = "the spawner";

        if (asked->process)
            snprintf(name, sizeof(name), "worker %u", asked->process);
        if (!asked->answered)
            fprintf(out, "%s of generation %u did not answer within 1 s; its connections are missing\n", name,
                    asked->generation);
    }
}

/* What a program does with its connection nobody counts. */
static bool is_program(const struct census_row *row)
{
    return row->from->process == 0;
}

static void add_row(struct table *t, const struct census *census, const struct census_row *row)
{
    char peer[ADDR_TEXT_MAX], wait[TEXT_NUMBER_MAX], age[TEXT_NUMBER_MAX];

    table_add(t, "%u.%u.%" PRIu32, row->from->generation, row->from->process, row->is.number);
    table_add(t, "%s", row->service->name);
    table_add(t, "%s", addr_print(peer, &row->is.peer));
    table_add(t, "%s", text_print_duration(wait, since(census, row->is.since_ms)));
    table_add(t, "%s", listing_waits[row->is.wait].words);
    table_add(t, "%s", text_print_duration(age, since(census, row->is.opened_ms)));
    if (is_program(row)) {
        for (int i = 0; i < 3; i++)
            table_add(t, "-");
        return;
    }
    table_add(t, "%" PRIu32, row->is.requests);
    table_add(t, "%" PRIu64, row->is.bytes_in);
    table_add(t, "%" PRIu64, row->is.bytes_out);
}

static void print_text(const struct census *census, FILE *out)
{
    static const char *const heads[] = { "CONNECTION", "SERVICE",  "PEER",     "WAIT",     "FOR",
                                         "AGE",        "REQUESTS", "BYTES IN", "BYTES OUT" };
    struct table t;

    print_summary(census, out);
    if (census->n_rows == 0 || table_init(&t, 9, 1u << 3 | 0xfu << 5) < 0)
        return;
    for (size_t i = 0; i < 9; i++)
        table_add(&t, "%s", heads[i]);
    for (size_t i = 0; i < census->n_rows; i++)
        add_row(&t, census, &census->rows[i]);
    fputc('\n', out);
    table_end(&t, out);
}

/* Printed by hand, since there may be many: neither names of services nor addresses need escapes. */
static void print_row_json(const struct census *census, const struct census_row *row, FILE *out)
{
    char peer[ADDR_TEXT_MAX];

    fprintf(out,
            "    {\"id\": \"%u.%u.%" PRIu32
            "\", \"service\": \"%s\", \"peer\": \"%s\", \"waits_for\": \"%s\", "
            "\"wait_ms\": %" PRIu64 ", \"age_ms\": %" PRIu64 ", ",
            row->from->generation, row->from->process, row->is.number, row->service->name,
            addr_print(peer, &row->is.peer), listing_waits[row->is.wait].word,
            since(census, row->is.since_ms), since(census, row->is.opened_ms));
    if (is_program(row)) {
        fputs("\"requests\": null, \"bytes_in\": null, \"bytes_out\": null}", out);
        return;
    }
    fprintf(out, "\"requests\": %" PRIu32 ", \"bytes_in\": %" PRIu64 ", \"bytes_out\": %" PRIu64 "}",
            row->is.requests, row->is.bytes_in, row->is.bytes_out);
}

static void print_json(const struct census *census, FILE *out)
{
    bool any = false;

    fprintf(out, "{\n  \"total\": %" PRIu64 ",\n  \"missing\": [", census->total);
    for (size_t i = 0; i < census->n_asked; i++) {
        if (census->asked[i].answered)
            continue;
        fprintf(out, "%s\"%u.%u\"", any ? ", " : "", census->asked[i].generation, census->asked[i].process);
        any = true;
    }
    fputs("],\n  \"connections\": [", out);
    for (size_t i = 0; i < census->n_rows; i++) {
        fputs(i ? ",\n" : "\n", out);
        print_row_json(census, &census->rows[i], out);
    }
    fputs(census->n_rows ? "\n  ]\n}\n" : "]\n}\n", out);
}

static void on_census(struct census *census)
{
    struct viewer *viewer = census->owner;
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (out && viewer->json)
        print_json(census, out);
    else if (out)
        print_text(census, out);
    bool whole = out && fclose(out) == 0;
    control_answer(viewer->client, whole ? CONTROL_OK : CONTROL_NO, whole ? text : "out of memory\n");
    free(text);
    census_free(census);
    free(viewer);
}

static void on_client_gone(void *held)
{
    struct viewer *viewer = held;

    census_free(viewer->census);
    free(viewer);
}

void command_connections(struct master *master, struct control_client *client,
                         const struct control_line *line)
{
    struct viewer *viewer = malloc(sizeof(*viewer));

    if (viewer)
        *viewer = (struct viewer){ .client = client, .json = line->json };
    if (!viewer ||
        census_start(&master->censuses, &master->generations, NULL, on_census, viewer, &viewer->census) < 0) {
        free(viewer);
        control_answer(client, CONTROL_NO, "out of memory\n");
        return;
    }
    control_hold(client, viewer, on_client_gone);
}
