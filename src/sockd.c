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
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

struct options {
    int log_level; /* -1: not said */
    const char *file, *control;
    struct oneliner line; /* in place of a file */
    bool check, show, single_process, version, help;
    struct upgrade_program program;
    int upgrade_fd, check_fd; /* what another sockd says to this one; -1 */
};

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

/* An option, and all that is known of it. */
struct row {
    int key; /* its letter, or a number over 255 where there is none */
    const char *name;
    const char *argument; /* NULL: takes none */
    const char *help;
    /* One of these says where the value goes. */
    size_t text, flag;                                /* a const char * or a bool in struct options */
    int (*set)(struct options *o, const char *value); /* 0, or an exit status after saying why */
};

#define TEXT(member) .text = offsetof(struct options, member)
#define FLAG(member) .flag = offsetof(struct options, member)

/* clang-format off */
static const struct row rows[] = {
    { 'f', "config", "FILE", "the configuration (" CONF_FILE ")", TEXT(file) },
    { 't', "check", NULL, "read and check the configuration, and end", FLAG(check) },
    { 'T', "show-config", NULL, "print the effective configuration, and end", FLAG(show) },
    { 256, "single-process", NULL, "serve inside the master, for a debugger", FLAG(single_process) },
    { 257, "control", "PATH", "the control socket", TEXT(control) },
    { 258, "log-level", "LEVEL", "debug, info, notice, warning or error", .set = set_level },
    { 'p', "port", "PORT", "serve a command, given behind --, on this port", TEXT(line.port) },
    { 'H', "host", "HOST", "the address for it (localhost)", TEXT(line.host) },
    { 'F', "framing", "FRAMING", "the framing for it (line)", TEXT(line.framing) },
    { 259, "helpers", "N", "so many processes of it (1)", TEXT(line.helpers) },
    { 260, "program", NULL, "a process of it for each connection", FLAG(line.program) },
    { 261, "version", NULL, "print the version, and end", FLAG(version) },
    { 262, "help", NULL, "print this, and end", FLAG(help) },
};
/* clang-format on */
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* 0 or an exit status. */
static int take(struct options *o, int key, const char *value)
{
    const struct row *row = rows;

    while (row->key != key)
        row++;
    if (row->set)
        return row->set(o, value);
    if (row->text)
        memcpy((char *)o + row->text, &value, sizeof(value));
    else
        *(bool *)((char *)o + row->flag) = true;
    return 0;
}

/* 0 or an exit status. */
static int check_options(const struct options *o)
{
    const struct oneliner *line = &o->line;

    if (line->command && !line->port)
        return misuse("\"%s\" is too much", line->command[0]);
    if (line->port && !line->command)
        return misuse("--port needs a command: sockd -p %s -- COMMAND", line->port);
    if (line->port && o->file)
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
        names[i] = rows[i].name;
        if (optopt && rows[i].key == optopt)
            return misuse("--%s takes no argument", names[i]);
    }
    if (optopt)
        return misuse("there is no option -%c", optopt);
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(word, "="), word);
    const char *near = text_suggest(name + strspn(name, "-"), names);
    return near ? misuse("there is no option %s; did you mean --%s?", name, near)
                : misuse("there is no option %s", name);
}

/* What getopt wants: the plus ends the options at the first word, and the colon tells a missing argument from
 * an unknown option. */
static void fill_getopt(struct option longs[ROWS + 1], char shorts[2 * ROWS + 3])
{
    *shorts++ = '+';
    *shorts++ = ':';
    for (size_t i = 0; i < ROWS; i++) {
        int argument = rows[i].argument ? required_argument : no_argument;

        longs[i] = (struct option){ rows[i].name, argument, NULL, rows[i].key };
        if (rows[i].key > 255)
            continue;
        *shorts++ = (char)rows[i].key;
        if (rows[i].argument)
            *shorts++ = ':';
    }
    longs[ROWS] = (struct option){ 0 };
    *shorts = '\0';
}

/* 0 or an exit status, with what is wrong told in one line. */
static int read_options(int argc, char **argv, struct options *o)
{
    struct option longs[ROWS + 1];
    char shorts[2 * ROWS + 3];
    int key;

    fill_getopt(longs, shorts);
    opterr = 0;
    while ((key = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (key == ':' || key == '?')
            return complain(key, argv[optind - 1]);
        int status = take(o, key, optarg);
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
        const struct row *row = &rows[i];
        char text[48], letter[8] = "   ";

        if (row->key < 256)
            snprintf(letter, sizeof(letter), "-%c,", row->key);
        snprintf(text, sizeof(text), "--%s %s", row->name, row->argument ? row->argument : "");
        printf("  %s %-22s %s\n", letter, text, row->help);
    }
    return flush_output();
}

static int load(const struct options *o, struct complaints *complaints, struct conf **ret)
{
    return o->file ? conf_load(o->file, complaints, ret) : oneliner_load(&o->line, complaints, ret);
}

/* What was to be loaded has an error. */
static int exit_of_fault(const struct options *o)
{
    return o->line.port ? EX_USAGE : EX_CONFIG;
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
    complaints_print(&complaints, "sockd: ", stderr);
    complaints_done(&complaints);
    if (r < 0)
        return exit_of_fault(o);
    if (o->show)
        conf_show(conf, CONF_WHOLE, stdout);
    else
        printf("%s: well\n", o->file ? o->file : "command line");
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
        return exit_of_fault(o);
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
