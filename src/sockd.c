/*
 * sockd(8): the main function of the daemon. It reads the command line and the configuration, prints what
 * only is to be printed, and hands the rest to the master. Its exit statuses are those of sysexits.h.
 */
#include "base/addr.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/spawn.h"
#include "base/text.h"
#include "command.h"
#include "complaints.h"
#include "conf.h"
#include "conf_check.h"
#include "log_ids.h"
#include "master.h"
#include "oneliner.h"
#include "plugin_trial.h"
#include "sd.h"
#include "upgrade.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct options {
    const char *file, *control;
    int log_level;        /* -1: not said */
    struct oneliner line; /* in place of a file */
    bool check, show, single_process, version, help;
    struct upgrade_program program;
    int upgrade_fd, check_fd; /* what another sockd says to this one; -1 */
};

enum long_option {
    OPTION_SINGLE = 256,
    OPTION_CONTROL,
    OPTION_LOG_LEVEL,
    OPTION_HELPERS,
    OPTION_PROGRAM,
    OPTION_VERSION,
    OPTION_HELP,
};

/* Each option: how it is read, and its line of --help. */
static const struct option_row {
    struct option option;
    char letter; /* 0: none */
    const char *argument, *help;
} rows[] = {
    { { "config", required_argument, NULL, 'f' }, 'f', " FILE", "the configuration (" CONF_FILE ")" },
    { { "check", no_argument, NULL, 't' }, 't', "", "read and check the configuration, and end" },
    { { "show-config", no_argument, NULL, 'T' }, 'T', "", "print the effective configuration, and end" },
    { { "single-process", no_argument, NULL, OPTION_SINGLE },
      0,
      "",
      "serve inside the master, for a debugger" },
    { { "control", required_argument, NULL, OPTION_CONTROL }, 0, " PATH", "the control socket" },
    { { "log-level", required_argument, NULL, OPTION_LOG_LEVEL },
      0,
      " LEVEL",
      "debug, info, notice, warning or error" },
    { { "port", required_argument, NULL, 'p' },
      'p',
      " PORT",
      "serve a command, given behind --, on this port" },
    { { "host", required_argument, NULL, 'H' }, 'H', " HOST", "the address for it (localhost)" },
    { { "framing", required_argument, NULL, 'F' }, 'F', " FRAMING", "the framing for it (line)" },
    { { "helpers", required_argument, NULL, OPTION_HELPERS }, 0, " N", "so many processes of it (1)" },
    { { "program", no_argument, NULL, OPTION_PROGRAM }, 0, "", "a process of it for each connection" },
    { { "version", no_argument, NULL, OPTION_VERSION }, 0, "", "print the version, and end" },
    { { "help", no_argument, NULL, OPTION_HELP }, 0, "", "print this, and end" },
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static int misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int misuse(const char *format, ...)
{
    va_list args;

    fputs("sockd: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs(" (see sockd --help)\n", stderr);
    return EX_USAGE;
}

static int set_level(struct options *o, const char *word)
{
    int level = log_parse_level(word);

    if (level < 0)
        return misuse("\"%s\" is no log level; debug, info, notice, warning and error are", word);
    o->log_level = level;
    return 0;
}

/* 0 or an exit status. */
static int set_option(struct options *o, int option, const char *argument)
{
    switch (option) {
    case 'f':
        o->file = argument;
        return 0;
    case 't':
        o->check = true;
        return 0;
    case 'T':
        o->show = true;
        return 0;
    case OPTION_SINGLE:
        o->single_process = true;
        return 0;
    case OPTION_CONTROL:
        o->control = argument;
        return 0;
    case OPTION_LOG_LEVEL:
        return set_level(o, argument);
    case 'p':
        o->line.port = argument;
        return 0;
    case 'H':
        o->line.host = argument;
        return 0;
    case 'F':
        o->line.framing = argument;
        return 0;
    case OPTION_HELPERS:
        o->line.helpers = argument;
        return 0;
    case OPTION_PROGRAM:
        o->line.program = true;
        return 0;
    case OPTION_VERSION:
        o->version = true;
        return 0;
    case OPTION_HELP:
        o->help = true;
        return 0;
    default:
        return EX_USAGE;
    }
}

/* 0 or an exit status. */
static int check_options(const struct options *o)
{
    const struct oneliner *line = &o->line;

    if (line->command && !line->port)
        return misuse("\"%s\" is too much", line->command[0]);
    if (line->port && !line->command)
        return misuse("--port needs a command: sockd -p %s -- COMMAND", line->port);
    if (line->port && (o->file || o->check))
        return misuse("--port is in place of a configuration");
    if (!line->port && (line->host || line->framing || line->helpers || line->program))
        return misuse("--host, --framing, --helpers and --program belong to --port");
    if (line->program && line->helpers)
        return misuse("--helpers and --program exclude each other");
    if (line->program && line->framing)
        return misuse("--framing and --program exclude each other");
    if (o->file && !*o->file)
        return misuse("--config needs the name of a file");
    if (o->check && o->show)
        return misuse("--check and --show-config exclude each other");
    if ((o->check || o->show) && (o->single_process || o->control || o->log_level >= 0))
        return misuse("%s means nothing to %s",
                      o->single_process ? "--single-process"
                      : o->control      ? "--control"
                                        : "--log-level",
                      o->check ? "--check" : "--show-config");
    return 0;
}

/* WORD is the argument in which getopt stumbled. */
static int complain(int result, const char *word)
{
    const char *names[ROWS + 1] = { NULL };
    char name[40];

    if (result == ':')
        return misuse("%s needs an argument", word);
    for (size_t i = 0; i < ROWS; i++) {
        names[i] = rows[i].option.name;
        if (optopt && rows[i].option.val == optopt)
            return misuse("--%s takes no argument", names[i]);
    }
    if (optopt)
        return misuse("there is no option -%c", optopt);
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, "="), word);
    const char *near = text_suggest(name + strspn(name, "-"), names);
    return near ? misuse("there is no option %s; did you mean --%s?", name, near)
                : misuse("there is no option %s", name);
}

/* 0 or an exit status, with what is wrong told in one line. */
static int read_options(int argc, char **argv, struct options *o)
{
    struct option longs[ROWS + 1] = { 0 };
    int option;

    for (size_t i = 0; i < ROWS; i++)
        longs[i] = rows[i].option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "+:f:tTp:H:F:", longs, NULL)) != -1) {
        if (option == ':' || option == '?')
            return complain(option, argv[optind - 1]);
        int status = set_option(o, option, optarg);
        if (status)
            return status;
    }
    if (optind < argc)
        o->line.command = argv + optind;
    return check_options(o);
}

/* Also of what left the buffer before. 0 or an exit status. */
static int flush_output(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return 0;
    fprintf(stderr, "sockd: cannot write to standard output: %s\n", strerror(errno));
    return EX_IOERR;
}

static int print_help(void)
{
    printf("usage: sockd [OPTION...]\n");
    for (size_t i = 0; i < ROWS; i++) {
        char text[48], letter[4] = "  ";
        if (rows[i].letter)
            snprintf(letter, sizeof(letter), "-%c", rows[i].letter);
        snprintf(text, sizeof(text), "--%s%s", rows[i].option.name, rows[i].argument);
        printf("  %s%s %-22s %s\n", letter, rows[i].letter ? "," : " ", text, rows[i].help);
    }
    return flush_output();
}

static void print_complaints(const struct complaints *c)
{
    for (const struct complaint *it = c->first; it; it = it->next)
        fprintf(stderr, "sockd: %s%s\n", complaint_is_fatal(it) ? "" : "warning: ", it->text);
}

static int load(const struct options *o, struct complaints *complaints, struct conf **ret)
{
    return o->file ? conf_load(o->file, complaints, ret) : oneliner_load(&o->line, complaints, ret);
}

/* --check and --show-config: nothing is opened, bound or changed. The first tries plug-ins too. */
static int print_configuration(const struct options *o)
{
    struct complaints complaints;
    struct conf *conf = NULL;

    if (o->check)
        conf_check_plugin = plugin_trial;
    complaints_init(&complaints);
    int r = load(o, &complaints, &conf);
    print_complaints(&complaints);
    complaints_done(&complaints);
    if (r < 0)
        return EX_CONFIG;
    if (o->show)
        conf_show(conf, CONF_WHOLE, stdout);
    else
        printf("%s: well\n", o->file);
    conf_unref(conf);
    return flush_output();
}

static int serve(const struct options *o, struct sd *sd, const struct upgrade_state *past)
{
    char *greeting = o->line.port ? oneliner_greeting(&o->line) : NULL;
    static struct master master; /* reachable in every forked process, for those who look for leaks */
    struct master_setup setup = {
        .file = o->file,
        .control = o->control,
        .log_level = o->log_level,
        .single_process = o->single_process,
        .greeting = greeting,
        .on_command = command_run,
        .sd = sd,
        .program = o->program,
        .past = past,
    };
    struct complaints complaints;
    struct conf *conf = NULL;

    complaints_init(&complaints);
    int r = past ? 0 : load(o, &complaints, &conf); /* what serves already is not stopped by a bad file */
    if (r < 0)
        log_last_words();
    complaints_log(&complaints);
    complaints_done(&complaints);
    if (r < 0) {
        free(greeting);
        return o->line.port ? EX_USAGE : EX_CONFIG;
    }
    if (conf)
        log_set_level(o->log_level >= 0 ? o->log_level : conf->log_level);
    addr_source_init();
    int status = master_run(&master, &setup, conf);
    conf_unref(conf);
    free(greeting);
    return status;
}

/* In place of another sockd that became this program. */
static int serve_on(const struct options *o, struct sd *sd)
{
    struct upgrade_state past;
    char why[UPGRADE_WHY_MAX];

    if (upgrade_load(o->upgrade_fd, &past, why) < 0) {
        log_last_words();
        log_event(LOG_ERR, LOG_ID_FAULT, "cannot take over: %s", why);
        return EX_OSERR;
    }
    int status = serve(o, sd, &past);
    upgrade_state_done(&past);
    return status;
}

/* What only another sockd says, as the first two words. They are taken away. */
static void take_upgrade_words(int *argc, char **argv, struct options *o)
{
    int64_t fd;
    bool goes_on = *argc > 2 && strcmp(argv[1], "--upgrade") == 0;
    bool checks = *argc > 2 && strcmp(argv[1], "--upgrade-check") == 0;

    if ((!goes_on && !checks) || text_parse_int(argv[2], 0, INT32_MAX, &fd) < 0)
        return;
    *(goes_on ? &o->upgrade_fd : &o->check_fd) = (int)fd;
    *argc -= 2;
    memmove(&argv[1], &argv[3], (size_t)*argc * sizeof(*argv));
}

int main(int argc, char **argv)
{
    struct options options = { .log_level = -1, .upgrade_fd = -1, .check_fd = -1 };
    struct sd sd;

    spawn_hear_children();
    if (fd_fill_standard() < 0)
        return EX_OSERR;
    take_upgrade_words(&argc, argv, &options);
    int status = read_options(argc, argv, &options);
    if (status)
        return status;
    if (options.help)
        return print_help();
    if (options.version) {
        printf("sockd %s\n", SOCKD_VERSION);
        return flush_output();
    }
    if (!options.file && !options.line.port)
        options.file = CONF_FILE;
    if (options.check_fd >= 0)
        return upgrade_check(options.check_fd, options.file);
    if (options.check || options.show)
        return print_configuration(&options);
    sd_open(&sd);
    log_open("sockd", options.log_level >= 0 ? options.log_level : LOG_INFO);
    sd_forget_journal();
    char *program = upgrade_find_program(argv[0], options.upgrade_fd >= 0);
    options.program = (struct upgrade_program){ .path = program, .argv = argv };
    status = options.upgrade_fd >= 0 ? serve_on(&options, &sd) : serve(&options, &sd, NULL);
    free(program);
    sd_close(&sd);
    log_close();
    return status;
}
