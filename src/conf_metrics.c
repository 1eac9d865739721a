/* The type of the key `metrics`: a group of its own, whose members have rows as all keys have. Pure. */
#include "base/text.h"
#include "conf.h"
#include "conf_key.h"
#include "conf_text.h"

#include <string.h>

static const struct conf_key host_key = {
    .name = "host",
    .type = &conf_type_hosts,
    .help = "the names or addresses of the exporter; \"*\" is every address",
};
static const struct conf_key port_key = {
    .name = "port",
    .type = &conf_type_port,
    .lo = 1,
    .hi = 65535,
    .help = "the port of the exporter",
};

static void done_metrics(void *field)
{
    struct conf_metrics *metrics = field;

    conf_type_hosts.done(&metrics->host);
}

static int check_members(const struct conf_node *node, struct conf_fault *why)
{
    static const char *const names[] = { "host", "port", NULL };
    char quoted[CONF_QUOTED_MAX];

    for (size_t i = 0; i < node->len; i++) {
        const char *name = node->item[i].name, *near = text_suggest(name, names);
        if (strcmp(name, host_key.name) == 0 || strcmp(name, port_key.name) == 0)
            continue;
        conf_text_quote(quoted, name);
        if (near)
            return conf_text_fault(why, &node->item[i], "unknown key %s; did you mean \"%s\"?", quoted, near);
        return conf_text_fault(why, &node->item[i], "unknown key %s; there are host and port", quoted);
    }
    if (!conf_node_find(node, port_key.name))
        return conf_text_fault(why, node, "needs a port, as in { port = 9550; }");
    return 0;
}

static int parse_host(const struct conf_node *node, struct words *field, struct conf_fault *why)
{
    static const struct conf_node preset = { .kind = NODE_STRING, .text = "localhost" };

    return conf_type_hosts.parse(&host_key, node ? node : &preset, field, why);
}

static int parse_metrics(const struct conf_key *key, const struct conf_node *node, void *field,
                         struct conf_fault *why)
{
    struct conf_metrics metrics = { .line = node->line };

    if (node->kind != NODE_GROUP)
        return conf_text_wrong_type(key, node, why);
    if (node->len == 0)
        return 0;
    int r = check_members(node, why);
    if (r == 0)
        r = conf_type_port.parse(&port_key, conf_node_find(node, port_key.name), &metrics.port, why);
    if (r == 0)
        r = parse_host(conf_node_find(node, host_key.name), &metrics.host, why);
    if (r == 0)
        *(struct conf_metrics *)field = metrics;
    return r;
}

static void print_metrics(const struct conf_key *key, const void *field, FILE *out)
{
    const struct conf_metrics *metrics = field;

    (void)key;
    if (metrics->port == 0) {
        fputs("{ }", out);
        return;
    }
    fputs("{ host = ", out);
    conf_type_hosts.print(&host_key, &metrics->host, out);
    fputs("; port = ", out);
    conf_type_port.print(&port_key, &metrics->port, out);
    fputs("; }", out);
}

const struct conf_type conf_type_metrics = { "a group, such as { host = \"localhost\"; port = 9550; }",
                                             parse_metrics, print_metrics, done_metrics };
