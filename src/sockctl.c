/*
 * sockctl: the client of sockd. Sends requests to any server, measures, and steers the daemon through its
 * control socket. This file holds the table of commands; what they do is in client/.
 */
#include "base/fd.h"
#include "base/text.h"
#include "client/bench.h"
#include "client/options.h"
#include "client/ping.h"
#include "client/pipe.h"
#include "client/print.h"
#include "client/say.h"
#include "client/send.h"
#include "client/shell.h"
#include "client/steer.h"
#include "client/top.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define ASKING \
    (OPTIONS_ALL | OPTIONS_TARGET | OPTIONS_FRAMING | OPTIONS_DATAGRAM | OPTIONS_TIMEOUT | OPTIONS_ESCAPES)
#define STEERING (OPTIONS_ALL | OPTIONS_DAEMON | OPTIONS_TIMEOUT)

struct command {
    const char *name;
    const char *words; /* as the help shows what follows it */
    int max_words;     /* -1: any number */
    unsigned groups;   /* enum option_group: what it understands */
    int (*run)(struct options *o);
    const char *help;
};

/* clang-format off */
static const struct command commands[] = {
    { "send", "[MESSAGE...]", -1, ASKING | OPTIONS_HEX | OPTIONS_INPUT, send_run, "send requests, print the replies" },
    { "pipe", "", 0, OPTIONS_ALL | OPTIONS_TARGET | OPTIONS_TIMEOUT, pipe_run, "both ways, byte for byte" },
    { "shell", "", 0, ASKING | OPTIONS_HEX, shell_run, "requests and replies in conversation" },
    { "ping", "[MESSAGE]", 1, ASKING | OPTIONS_COUNT | OPTIONS_INTERVAL, ping_run, "the time from request to reply" },
    { "bench", "[MESSAGE]", 1, ASKING | OPTIONS_COUNT | OPTIONS_BENCH | OPTIONS_JSON, bench_run, "load, and what it took" },
    { "status", "", 0, STEERING | OPTIONS_JSON, steer_run, "how the daemon is" },
    { "top", "", 0, STEERING | OPTIONS_JSON | OPTIONS_INTERVAL, top_run, "how it works, live: rates, latencies, processes" },
    { "services", "", 0, STEERING | OPTIONS_JSON, steer_run, "its services: how each is, where it listens" },
    { "workers", "", 0, STEERING | OPTIONS_JSON, steer_run, "its processes" },
    { "connections", "", 0, STEERING | OPTIONS_JSON, steer_run, "who is connected, and what each waits for" },
    { "config", "", 0, STEERING | OPTIONS_JSON, steer_run, "the configuration that serves, in full" },
    { "metrics", "", 0, STEERING, steer_run, "its counters in the Prometheus text format" },
    { "helpers", "[SERVICE]", 1, STEERING | OPTIONS_JSON, steer_run, "its helpers, of each service and worker" },
    { "restart", "SERVICE", 1, STEERING, steer_run, "the helpers of a service are replaced, one after another" },
    { "reload", "", 0, STEERING, steer_wait, "the daemon takes its configuration anew" },
    { "upgrade", "", 0, STEERING, steer_wait, "the daemon becomes the program that lies on disk now" },
    { "check", "", 0, STEERING, steer_run, "the daemon looks at its configuration" },
    { "drain", "SERVICE", 1, STEERING, steer_run, "the service closes politely what comes" },
    { "resume", "SERVICE", 1, STEERING, steer_run, "it serves again" },
    { "kill", "CONNECTION", 1, STEERING, steer_run, "ends a connection" },
    { "log-level", "LEVEL", 1, STEERING, steer_run, "debug, info, notice, warning, error, or default" },
    { "stop", "", 0, STEERING, steer_run, "the daemon finishes what is in hand and ends" },
};
/* clang-format on */

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_framings(void)
{
    printf("\nframings:\n");
    for (const struct frame_word *w = frame_words; w->word; w++)
        printf("  %-24s%s%s\n", w->word, strlen(w->word) > 24 ? "\n                           " : " ",
               w->help);
}

/* Of ONE command, and what it understands; NULL: of all. */
static int print_help(const struct command *one)
{
    printf("usage: sockctl [options] %s [options] ...\n\n", one ? one->name : "COMMAND");
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (!one || one == &commands[i])
            printf("  %-11s %-12s %s\n", commands[i].name, commands[i].words, commands[i].help);
    printf("\noptions:\n");
    options_print_help(stdout, one ? one->groups : UINT_MAX);
    if (!one || (one->groups & OPTIONS_FRAMING))
        print_framings();
    printf("\nMore in sockctl(1).\n");
    return print_flush();
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int say_unknown(const char *name)
{
    const char *names[N_COMMANDS + 1] = { NULL };
    const char *near;

    for (size_t i = 0; i < N_COMMANDS; i++)
        names[i] = commands[i].name;
    near = text_suggest(name, names);
    if (near)
        return say_misuse("there is no command %s; did you mean %s?", name, near);
    return say_misuse("there is no command %s", name);
}

int main(int argc, char **argv)
{
    struct options options;
    const struct command *command;
    int status;

    fd_fill_standard();
    status = options_parse(&options, argc, argv);
    if (status)
        return status;
    if (options.help)
        return print_help(options.command ? find_command(options.command) : NULL);
    if (options.version) {
        printf("sockctl %s\n", SOCKD_VERSION);
        return print_flush();
    }
    if (!options.command)
        return say_misuse("no command was named");
    command = find_command(options.command);
    if (!command)
        return say_unknown(options.command);
    status = options_check(&options, command->groups);
    if (status)
        return status;
    if (command->max_words >= 0 && options.n_words > command->max_words)
        return say_misuse("%s does not know what to do with \"%s\"", command->name,
                          options.words[command->max_words]);
    if (options.n_words == 0 && command->words[0] && command->words[0] != '[')
        return say_misuse("%s needs %s", command->name, command->words);
    say_set_quiet(options.quiet);
    return command->run(&options);
}
