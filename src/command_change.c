/* Draining and resuming services, ending a connection, the level of the log. */
#include "command_change.h"

#include "base/log.h"
#include "base/text.h"
#include "census.h"
#include "command_service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer(struct control_client *client, enum control_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void answer(struct control_client *client, enum control_code code, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    control_answer(client, code, text);
}

static void set_drained(struct master *master, struct control_client *client, const char *name, bool drained)
{
    const struct service *service = command_service_find(status_newest(&master->status), client, name);

    if (!service)
        return;
    bool was = generations_is_drained(&master->generations, service->name);
    if (was == drained) {
        answer(client, CONTROL_OK, "%s is %sdrained\n", service->name, drained ? "already " : "not ");
        return;
    }
    if (generations_set_drained(&master->generations, service->name, drained) < 0) {
        answer(client, CONTROL_NO, "out of memory\n");
        return;
    }
    control_log(client, service->name, "%s by sockctl", drained ? "drained" : "resumed");
    answer(client, CONTROL_OK, "%s is %s\n", service->name,
           drained ? "drained: what comes is closed, what is in hand is finished" : "resumed");
}

void command_drain(struct master *master, struct control_client *client, const struct control_line *line)
{
    set_drained(master, client, line->arg[0], true);
}

void command_resume(struct master *master, struct control_client *client, const struct control_line *line)
{
    set_drained(master, client, line->arg[0], false);
}

/* Nothing, when the level of this moment hides it. */
static void log_change(struct control_client *client, int level, const char *why)
{
    control_log(client, NULL, "log level %s%s, by sockctl", log_level_word(level), why);
}

void command_log_level(struct master *master, struct control_client *client, const struct control_line *line)
{
    bool is_default = strcmp(line->arg[0], "default") == 0;
    int wanted = is_default ? master->setup->log_level : log_parse_level(line->arg[0]);
    const char *why = is_default ? ", as configured" : "";

    if (wanted < 0 && !is_default) {
        answer(client, CONTROL_USAGE,
               "the levels are debug, info, notice, warning and error; default is the configured one\n");
        return;
    }
    const struct generation *g = status_newest(&master->status);
    int before = status_log_level(&master->status);
    int after = wanted >= 0 ? wanted : g ? g->conf->log_level : before;
    if (after < before)
        log_change(client, after, why);
    generations_set_log_level(&master->generations, wanted);
    exporter_seat_set_log_level(&master->exporter, after);
    if (after >= before)
        log_change(client, after, why);
    answer(client, CONTROL_OK, "log level %s%s\n", log_level_word(after), why);
}

/* A client that wants a connection ended: first it is looked whether there is one. */
struct killer {
    struct control_client *client;
    struct generations *generations; /* borrows */
    struct census *census;
    unsigned generation, process;
    uint32_t number;
};

static const struct census_row *find_row(const struct census *census, uint32_t number)
{
    for (size_t i = 0; i < census->n_rows; i++)
        if (census->rows[i].is.number == number)
            return &census->rows[i];
    return NULL;
}

/* The process that has, or had, the connection; NULL when it is gone. */
static struct process *find_process(const struct killer *killer)
{
    struct generation *g = generations_find(killer->generations, killer->generation);

    for (size_t i = 0; g && i < generation_seats(g); i++)
        if (g->seats[i].process.number == killer->process && process_lives(&g->seats[i].process))
            return &g->seats[i].process;
    return NULL;
}

static void kill_row(const struct killer *killer, const struct census_row *row)
{
    char id[48], peer[ADDR_TEXT_MAX];

    snprintf(id, sizeof(id), "%u.%u.%" PRIu32, killer->generation, killer->process, killer->number);
    addr_print(peer, &row->is.peer);
    process_tell(find_process(killer), CHANNEL_KILL_CONN, killer->number);
    control_log(killer->client, row->service->name, "connection %s of %s ended by sockctl", id, peer);
    answer(killer->client, CONTROL_OK, "connection %s of %s, %s, is ended\n", id, row->service->name, peer);
}

static void on_looked(struct census *census)
{
    struct killer *killer = census->owner;
    const struct census_row *row = find_row(census, killer->number);
    bool silent = census->n_asked > 0 && census->n_waiting > 0;

    if (row && find_process(killer))
        kill_row(killer, row);
    else if (silent)
        answer(killer->client, CONTROL_NO, "worker %u of generation %u does not answer\n", killer->process,
               killer->generation);
    else
        answer(killer->client, CONTROL_NO, "there is no connection %u.%u.%" PRIu32 "\n", killer->generation,
               killer->process, killer->number);
    census_free(census);
    free(killer);
}

static void on_client_gone(void *held)
{
    struct killer *killer = held;

    census_free(killer->census);
    free(killer);
}

/* "3.1.17" */
static int parse_id(const char *text, struct killer *ret)
{
    char word[48], *at = word, *dot;
    int64_t numbers[3];

    if (strlen(text) >= sizeof(word))
        return -EINVAL;
    strcpy(word, text);
    for (int i = 0; i < 3; i++, at = dot + 1) {
        dot = at + strcspn(at, ".");
        if ((*dot == '.') != (i < 2))
            return -EINVAL;
        *dot = '\0';
        if (text_parse_int(at, 0, UINT32_MAX, &numbers[i]) < 0)
            return -EINVAL;
    }
    ret->generation = (unsigned)numbers[0];
    ret->process = (unsigned)numbers[1];
    ret->number = (uint32_t)numbers[2];
    return 0;
}

void command_kill(struct master *master, struct control_client *client, const struct control_line *line)
{
    struct killer *killer = calloc(1, sizeof(*killer));

    if (killer && parse_id(line->arg[0], killer) < 0) {
        free(killer);
        answer(client, CONTROL_USAGE,
               "a connection is named as sockctl connections shows it, such as 1.2.17\n");
        return;
    }
    int r = -ENOMEM;
    if (killer) {
        killer->client = client;
        killer->generations = &master->generations;
        struct census_asked only = { .generation = killer->generation, .process = killer->process };
        r = census_start(&master->censuses, &master->generations, &only, on_looked, killer, &killer->census);
    }
    if (r < 0) {
        free(killer);
        answer(client, CONTROL_NO, "out of memory\n");
        return;
    }
    control_hold(client, killer, on_client_gone);
}
