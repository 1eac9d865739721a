/* What each command does; those that change something are for those who may (control_may_change). */
#include "command.h"

#include "base/text.h"
#include "command_change.h"
#include "command_service.h"
#include "command_view.h"
#include "complaints.h"
#include "conf.h"
#include "exec_path.h"
#include "master.h"
#include "metrics.h"
#include "roll.h"
#include "status_helpers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void command_fn(struct master *master, struct control_client *client,
                        const struct control_line *line);

static void run_status(struct master *master, struct control_client *client, const struct control_line *line)
{
    status_look(&master->status);
    char *text = line->json ? status_json(&master->status) : status_text(&master->status);

    control_answer(client, master->status.verdict == VERDICT_WELL ? CONTROL_OK : CONTROL_NO,
                   text ? text : "out of memory\n");
    free(text);
}

static void run_metrics(struct master *master, struct control_client *client, const struct control_line *line)
{
    (void)line;
    status_look(&master->status);
    char *text = metrics_text(&master->status);
    control_answer(client, text ? CONTROL_OK : CONTROL_NO, text ? text : "out of memory\n");
    free(text);
}

/* The complaints, a line each, and a last line that says what it comes to. The caller frees it; NULL without
 * memory. */
static char *check_text(const struct complaints *c, const char *file)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    complaints_print(c, "", out);
    if (c->n_fatal == 0)
        fprintf(out, "%s: well\n", file);
    return text_close(out, &text);
}

static void run_check(struct master *master, struct control_client *client, const struct control_line *line)
{
    struct complaints complaints;
    struct conf *conf = NULL;

    (void)line;
    if (!master->setup->file) {
        control_answer(client, CONTROL_NO, "the configuration is the command line\n");
        return;
    }
    complaints_init(&complaints);
    int r = conf_load(master->setup->file, &complaints, &conf);
    char *text = check_text(&complaints, master->setup->file);
    control_answer(client, r < 0 ? CONTROL_NO : CONTROL_OK, text ? text : "out of memory\n");
    free(text);
    complaints_done(&complaints);
    if (r == 0)
        conf_unref(conf);
}

/* A client that waits for a reload. */
struct waiting {
    struct reload_asker asker;
    struct control_client *client;
};

static void on_reload_wait(struct reload_asker *asker, const char *text)
{
    control_note(container_of(asker, struct waiting, asker)->client, text);
}

static void on_reload_done(struct reload_asker *asker, bool ok, const char *text)
{
    struct waiting *waiting = container_of(asker, struct waiting, asker);
    size_t len = strlen(text);
    char *line = NULL;

    if (asprintf(&line, "%s%s", text, len > 0 && text[len - 1] == '\n' ? "" : "\n") < 0)
        line = NULL;
    control_answer(waiting->client, ok ? CONTROL_OK : CONTROL_NO, line ? line : text);
    free(line);
    free(waiting);
}

static void on_client_gone(void *held)
{
    struct waiting *waiting = held;

    reload_forget(&waiting->asker);
    free(waiting);
}

static void run_reload(struct master *master, struct control_client *client, const struct control_line *line)
{
    struct waiting *waiting = malloc(sizeof(*waiting));

    (void)line;
    if (!waiting) {
        control_answer(client, CONTROL_NO, "out of memory\n");
        return;
    }
    *waiting = (struct waiting){ .asker = { .on_wait = on_reload_wait, .on_done = on_reload_done },
                                 .client = client };
    list_init(&waiting->asker.link);
    control_log(client, NULL, "reload by sockctl");
    control_hold(client, waiting, on_client_gone);
    master_reload(master, &waiting->asker);
}

static void run_stop(struct master *master, struct control_client *client, const struct control_line *line)
{
    (void)line;
    if (master->setup->sd->managed) {
        control_answer(client, CONTROL_NO,
                       "sockd runs under systemd, which would start it again: use systemctl stop\n");
        return;
    }
    control_log(client, NULL, "stop by sockctl");
    control_answer(client, CONTROL_OK, master->stopping ? "stopping at once\n" : "stopping\n");
    master_stop(master);
}

static void run_helpers(struct master *master, struct control_client *client, const struct control_line *line)
{
    const struct generation *g = status_newest(&master->status);
    const struct service *one = NULL;

    if (line->n_args > 0 && !(one = command_service_find_with_helpers(g, client, line->arg[0])))
        return;
    char *text = line->json ? status_helpers_json(g, one) : status_helpers_text(g, one);
    control_answer(client, CONTROL_OK, text ? text : "out of memory\n");
    free(text);
}

/* Whether the next helpers of SERVICE can be executed, as `sockd --check` has it; false after an answer. */
static bool can_start(const struct service *service, struct control_client *client)
{
    char why[EXEC_WHY_MAX], text[EXEC_WHY_MAX + 128];

    if (exec_check_directory(service->directory, why) == 0 &&
        exec_check(service->command.item[0], service->directory, why) >= 0)
        return true;
    snprintf(text, sizeof(text), "%s: helpers are not replaced: %s\n", service->name, why);
    control_answer(client, CONTROL_NO, text);
    return false;
}

static void run_restart(struct master *master, struct control_client *client, const struct control_line *line)
{
    const struct generation *newest = status_newest(&master->status);
    struct generation *g = newest ? generations_find(&master->generations, newest->number) : NULL;
    const struct service *service = command_service_find_with_helpers(g, client, line->arg[0]);
    char text[128];

    if (!g || !service || !can_start(service, client))
        return;
    if (roll_begin(g, (size_t)(service - g->conf->services)) < 0) {
        control_answer(client, CONTROL_NO, "out of memory\n");
        return;
    }
    control_log(client, service->name, "its helpers are replaced, by sockctl");
    snprintf(text, sizeof(text), "%s: helpers are replaced, one after another\n", service->name);
    control_answer(client, CONTROL_OK, text);
}

static void run_upgrade(struct master *master, struct control_client *client, const struct control_line *line)
{
    (void)line;
    control_log(client, NULL, "upgrade by sockctl");
    master_upgrade(master, client);
}

static const struct command {
    const char *name;
    const char *words; /* what follows it: "WORD", "[WORD]", or "" */
    command_fn *run;
    bool changes; /* not for everybody who may look */
    const char *help;
} commands[] = {
    { "status", "", run_status, false, "how the daemon is" },
    { "services", "", command_services, false, "each service: how it is, what it does, where" },
    { "workers", "", command_workers, false, "each process: how it is, what it has" },
    { "helpers", "[SERVICE]", run_helpers, false, "the helpers, of each service and worker" },
    { "connections", "", command_connections, false, "who is connected, and what each waits for" },
    { "config", "", command_config, false, "the configuration that serves, in full" },
    { "metrics", "", run_metrics, false, "counters and gauges in the Prometheus text format" },
    { "check", "", run_check, false, "reads the configuration as it is on disk, and says what is wrong" },
    { "reload", "", run_reload, true,
      "puts the configuration on disk to work; waits until it serves or failed" },
    { "drain", "SERVICE", command_drain, true, "closes politely what comes, finishes what is in hand" },
    { "resume", "SERVICE", command_resume, true, "the service serves again" },
    { "restart", "SERVICE", run_restart, true, "replaces the helpers of a service, one after another" },
    { "kill", "CONNECTION", command_kill, true, "ends a connection, as connections names it" },
    { "log-level", "LEVEL", command_log_level, true, "debug, info, notice, warning, error, or default" },
    { "upgrade", "", run_upgrade, true, "becomes the program on disk, and cuts nobody" },
    { "stop", "", run_stop, true, "finishes what is in hand and ends; a second time at once" },
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void answer_unknown(struct control_client *client, const char *word)
{
    char *text = NULL;
    size_t len = 0;
    char safe[64];
    FILE *out = open_memstream(&text, &len);

    if (!out) {
        control_answer(client, CONTROL_USAGE, "no such command\n");
        return;
    }
    text_escape(safe, sizeof(safe), word, strlen(word));
    fprintf(out, "there is no command \"%s\"; there are:\n", safe);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-11s %-10s %s\n", commands[i].name, commands[i].words, commands[i].help);
    bool ok = fclose(out) == 0;
    control_answer(client, CONTROL_USAGE, ok ? text : "no such command\n");
    free(text);
}

static bool takes(const struct command *command, size_t n_args)
{
    char first = command->words[0];

    return n_args == 0 ? first == '\0' || first == '[' : n_args == 1 && first != '\0';
}

static void answer_misuse(struct control_client *client, const struct command *command)
{
    char text[80];

    if (command->words[0])
        snprintf(text, sizeof(text), "usage: %s %s\n", command->name, command->words);
    else
        snprintf(text, sizeof(text), "%s takes no argument\n", command->name);
    control_answer(client, CONTROL_USAGE, text);
}

void command_run(void *owner, struct control_client *client, const struct control_line *line)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, line->command) != 0)
            continue;
        if (!takes(&commands[i], line->n_args))
            answer_misuse(client, &commands[i]);
        else if (commands[i].changes && !control_may_change(client, commands[i].name))
            control_answer(
                client, CONTROL_NO,
                "not permitted: this is for root, or the user of the daemon where that is a person\n");
        else
            commands[i].run(owner, client, line);
        return;
    }
    answer_unknown(client, line->command);
}
