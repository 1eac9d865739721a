/* The command line of sockctl. A row of the table is the whole truth about an option. */
#include "client/options.h"

#include "base/text.h"
#include "client/say.h"
#include "conf.h"

#include <getopt.h>
#include <stddef.h>
#include <string.h>

struct row {
    int key; /* its letter, or a number over 255 where there is none */
    const char *name;
    const char *arg; /* NULL: takes none */
    unsigned groups;
    const char *help;
    /* One of these says where the value goes. */
    size_t text, flag;                                /* a const char * or a bool in struct options */
    int (*set)(struct options *o, const char *value); /* 0, or an exit status after saying why */
};

static int set_port(struct options *o, const char *value)
{
    int64_t number;

    if (!value[0])
        return say_misuse("-p needs a port");
    if (value[strspn(value, "0123456789")] == '\0' && text_parse_int(value, 1, 65535, &number) < 0)
        return say_misuse("port %s is not between 1 and 65535", value);
    o->port = value;
    return 0;
}

static int set_framing(struct options *o, const char *value)
{
    const char *why = "";

    if (frame_parse(value, &o->framing, &why) < 0)
        return say_misuse("framing \"%s\" %s", value, why);
    o->framing_given = true;
    return 0;
}

static int set_timeout(struct options *o, const char *value)
{
    if (text_parse_time(value, &o->timeout_ms) < 0)
        return say_misuse("timeout \"%s\" is no time; write 500ms, 10s or 5m", value);
    o->timeout_given = true;
    return 0;
}

static int set_count(struct options *o, const char *value)
{
    if (text_parse_int(value, 1, 1000000000, &o->count) < 0)
        return say_misuse("\"%s\" is no number of requests", value);
    o->count_given = true;
    return 0;
}

static int set_interval(struct options *o, const char *value)
{
    if (text_parse_time(value, &o->interval_ms) < 0)
        return say_misuse("interval \"%s\" is no time; write 200ms, 1s or 5m", value);
    return 0;
}

static int set_connections(struct options *o, const char *value)
{
    if (text_parse_int(value, 1, 1000000, &o->connections) < 0)
        return say_misuse("\"%s\" is no number of connections", value);
    return 0;
}

static int set_duration(struct options *o, const char *value)
{
    if (text_parse_time(value, &o->duration_ms) < 0 || o->duration_ms == 0)
        return say_misuse("duration \"%s\" is no time; write 500ms, 10s or 5m", value);
    o->duration_given = true;
    return 0;
}

static int set_depth(struct options *o, const char *value)
{
    if (text_parse_int(value, 1, 65536, &o->depth) < 0)
        return say_misuse("\"%s\" is no number of requests in flight", value);
    return 0;
}

static int set_rate(struct options *o, const char *value)
{
    if (text_parse_int(value, 1, 1000000000, &o->rate) < 0)
        return say_misuse("\"%s\" is no number of requests per second", value);
    return 0;
}

static int set_size(struct options *o, const char *value)
{
    if (text_parse_size(value, &o->size) < 0 || o->size > (UINT64_C(1) << 30))
        return say_misuse("\"%s\" is no size of a message; write 100, 64k or 1m", value);
    o->size_given = true;
    return 0;
}

static int set_warm_up(struct options *o, const char *value)
{
    if (text_parse_time(value, &o->warm_up_ms) < 0)
        return say_misuse("warm-up \"%s\" is no time; write 500ms, 1s or 5m", value);
    o->warm_up_given = true;
    return 0;
}

static int set_processes(struct options *o, const char *value)
{
    if (text_parse_int(value, 1, 1024, &o->processes) < 0)
        return say_misuse("\"%s\" is no number of processes", value);
    return 0;
}

#define TEXT(member) .text = offsetof(struct options, member)
#define FLAG(member) .flag = offsetof(struct options, member)

/* clang-format off */
static const struct row rows[] = {
    { 'H', "host", "HOST", OPTIONS_TARGET, "host name or address (localhost)", TEXT(host) },
    { 'p', "port", "PORT", OPTIONS_TARGET, "port, by number or name (50000)", .set = set_port },
    { 'U', "unix", "PATH", OPTIONS_TARGET, "a Unix socket instead; @NAME is an abstract one", TEXT(path) },
    { 'u', "udp", NULL, OPTIONS_DATAGRAM, "datagrams: UDP, or a Unix datagram socket with -U", FLAG(datagrams) },
    { '4', "ipv4", NULL, OPTIONS_TARGET, "IPv4 only", FLAG(ipv4) },
    { '6', "ipv6", NULL, OPTIONS_TARGET, "IPv6 only", FLAG(ipv6) },
    { 'F', "framing", "FRAMING", OPTIONS_FRAMING, "how bytes are cut into messages (line)", .set = set_framing },
    { 's', "service", "SERVICE", OPTIONS_TARGET, "address and framing of a configured service", TEXT(service) },
    { 256, "config", "FILE", OPTIONS_TARGET, "where -s looks (" CONF_FILE ")", TEXT(config) },
    { 'w', "timeout", "TIME", OPTIONS_TIMEOUT, "how long to wait (10s); 0: for ever", .set = set_timeout },
    { 'f', "file", "FILE", OPTIONS_INPUT, "send: requests from FILE", TEXT(file) },
    { 257, "each-line", NULL, OPTIONS_INPUT, "send: each line of the input is a message", FLAG(each_line) },
    { 'e', "escapes", NULL, OPTIONS_ESCAPES, "send, shell, ping, bench: C escapes in messages", FLAG(escapes) },
    { 'x', "hex", NULL, OPTIONS_HEX, "send, shell: replies in hexadecimal", FLAG(hex) },
    { 'n', "count", "COUNT", OPTIONS_COUNT, "ping: how many requests (4); bench: then it ends", .set = set_count },
    { 258, "interval", "TIME", OPTIONS_INTERVAL, "ping, top: from one request, or look, to the next (1s)", .set = set_interval },
    { 'c', "connections", "N", OPTIONS_BENCH, "bench: how many connections (50)", .set = set_connections },
    { 'd', "duration", "TIME", OPTIONS_BENCH, "bench: for how long (10s, or without limit with -n)", .set = set_duration },
    { 'P', "pipeline", "N", OPTIONS_BENCH, "bench: requests in flight on each connection (1)", .set = set_depth },
    { 'R', "rate", "N", OPTIONS_BENCH, "bench: requests per second, planned ahead", .set = set_rate },
    { 263, "new-connections", NULL, OPTIONS_BENCH, "bench: a connection per request", FLAG(new_connections) },
    { 264, "size", "SIZE", OPTIONS_BENCH, "bench: a message of so many bytes (64)", .set = set_size },
    { 265, "warm-up", "TIME", OPTIONS_BENCH, "bench: time before it counts", .set = set_warm_up },
    { 266, "processes", "N", OPTIONS_BENCH, "bench: processes that make the load (1)", .set = set_processes },
    { 267, "verify", NULL, OPTIONS_BENCH, "bench: a reply must be its request", FLAG(verify) },
    { 268, "expect", "TEXT", OPTIONS_BENCH, "bench: a reply must be TEXT", TEXT(expect) },
    { 259, "control", "PATH", OPTIONS_DAEMON, "the daemon's control socket", TEXT(control) },
    { 'i', "instance", "NAME", OPTIONS_DAEMON | OPTIONS_TARGET, "the daemon, or with -s the configuration, of sockd@NAME", TEXT(instance) },
    { 260, "json", NULL, OPTIONS_JSON, "what status, top, bench and their like say, as JSON", FLAG(json) },
    { 'q', "quiet", NULL, OPTIONS_ALL, "no words on standard error", FLAG(quiet) },
    { 261, "help", NULL, OPTIONS_ALL, "this text", FLAG(help) },
    { 262, "version", NULL, OPTIONS_ALL, "the version", FLAG(version) },
};
/* clang-format on */

#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static int take(struct options *o, const struct row *row, const char *value)
{
    o->given |= UINT64_C(1) << (row - rows);
    if (row->set)
        return row->set(o, value);
    if (row->text)
        memcpy((char *)o + row->text, &value, sizeof(value));
    else
        *((bool *)((char *)o + row->flag)) = true;
    return 0;
}

static const struct row *row_of_key(int key)
{
    for (size_t i = 0; i < N_ROWS; i++)
        if (rows[i].key == key)
            return &rows[i];
    return NULL;
}

/* What getopt wants: a leading colon tells a missing argument from an unknown option. */
static void fill_getopt(struct option longs[N_ROWS + 1], char shorts[2 * N_ROWS + 2])
{
    *shorts++ = ':';
    for (size_t i = 0; i < N_ROWS; i++) {
        longs[i] =
            (struct option){ rows[i].name, rows[i].arg ? required_argument : no_argument, NULL, rows[i].key };
        if (rows[i].key > 255)
            continue;
        *shorts++ = (char)rows[i].key;
        if (rows[i].arg)
            *shorts++ = ':';
    }
    longs[N_ROWS] = (struct option){ 0 };
    *shorts = '\0';
}

/* WORD is the argument in which getopt stumbled. */
static int complain(int result, const char *word)
{
    const char *names[N_ROWS + 1] = { NULL };
    const char *near;
    const struct row *row = row_of_key(optopt);

    if (result == ':' && row && row->key < 256)
        return say_misuse("-%c needs %s", row->key, row->arg);
    if (result == ':')
        return say_misuse("%s needs %s", word, row ? row->arg : "a value");
    if (row)
        return say_misuse("--%s takes no value", row->name);
    if (optopt)
        return say_misuse("there is no option -%c", optopt);
    for (size_t i = 0; i < N_ROWS; i++)
        names[i] = rows[i].name;
    near = text_suggest(word + strspn(word, "-"), names);
    if (near)
        return say_misuse("there is no option %s; did you mean --%s?", word, near);
    return say_misuse("there is no option %s", word);
}

int options_parse(struct options *ret, int argc, char **argv)
{
    struct option longs[N_ROWS + 1];
    char shorts[2 * N_ROWS + 2];
    const struct row *row;
    int key, r;

    *ret = (struct options){
        .timeout_ms = 10000, .count = 4, .interval_ms = 1000, .connections = 50, .depth = 1, .processes = 1
    };
    ret->framing.kind = FRAME_LINE;
    fill_getopt(longs, shorts);
    opterr = 0;
    while ((key = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        row = key == '?' || key == ':' ? NULL : row_of_key(key);
        if (!row)
            return complain(key, argv[optind - 1]);
        r = take(ret, row, optarg);
        if (r)
            return r;
    }
    if (optind < argc) {
        ret->command = argv[optind];
        ret->words = argv + optind + 1;
        ret->n_words = argc - optind - 1;
    }
    return 0;
}

int options_check(const struct options *o, unsigned groups)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        if (!(o->given & (UINT64_C(1) << i)) || (rows[i].groups & groups))
            continue;
        if (rows[i].key < 256)
            return say_misuse("-%c means nothing to %s", rows[i].key, o->command);
        return say_misuse("--%s means nothing to %s", rows[i].name, o->command);
    }
    if (o->instance && o->control)
        return say_misuse("-i cannot stand with --control");
    if (groups & OPTIONS_DAEMON)
        return 0;
    if (o->path && (o->ipv4 || o->ipv6))
        return say_misuse("-%c means nothing with -U", o->ipv4 ? '4' : '6');
    if (!o->service && (o->instance || o->config))
        return say_misuse("%s means nothing to %s without -s", o->instance ? "-i" : "--config", o->command);
    if (o->instance && o->config)
        return say_misuse("-i cannot stand with --config");
    return 0;
}

void options_print_help(FILE *out, unsigned groups)
{
    char left[40];

    for (size_t i = 0; i < N_ROWS; i++) {
        const struct row *row = &rows[i];

        if (!(row->groups & groups))
            continue;
        if (row->key < 256)
            snprintf(left, sizeof(left), "-%c, --%s %s", row->key, row->name, row->arg ? row->arg : "");
        else
            snprintf(left, sizeof(left), "    --%s %s", row->name, row->arg ? row->arg : "");
        fprintf(out, "  %-24s %s\n", left, row->help);
    }
}
