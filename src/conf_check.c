/*
 * The checks that one value alone cannot show. They look at values and at who wrote them; what is asked of
 * the machine is the number of a group, whether a command can be executed and its directory entered, and
 * whether a plug-in can be loaded (in a child, plugin_trial.c). Nothing is bound or resolved.
 */
#include "conf_check.h"

#include "base/text.h"
#include "conf_clash.h"
#include "conf_key.h"
#include "conf_text.h"
#include "exec_path.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A service under check. */
struct check {
    struct service *service;
    const struct place *place;
    const struct conf_node *own, *top;
    struct complaints *complaints;
};

/* For what is wrong with the service as a whole. */
static void at_service(const struct check *c, const char *text)
{
    bool main_file = c->place->prefix[0];

    complaints_add(c->complaints, true, "%s:%d: %s%s%s%s", c->place->file, c->service->line,
                   main_file ? "services." : "", main_file ? c->service->name : "", main_file ? ": " : "",
                   text);
}

static bool has(const struct service *s, enum transport t)
{
    return s->transports & 1u << t;
}

/* Written in the service itself. */
static const struct conf_node *own(const struct check *c, const char *key)
{
    return conf_node_find(c->own, key);
}

/* Not written at all, as far as that is known; a value that was wrong was complained of already. */
static bool missing(const struct check *c, const char *key)
{
    return c->top && !own(c, key) && !conf_node_find(c->top, key);
}

static void at_key(const struct check *c, bool fatal, const char *key, const char *text)
{
    const struct conf_node *node = own(c, key);

    complaints_add_at(c->complaints, fatal, c->place, node ? node->line : c->service->line, key, "%s", text);
}

/* "unix or unixgram" */
static const char *print_transports(char buf[64], uint32_t bits)
{
    size_t len = 0;

    buf[0] = '\0';
    for (int i = 0; transport_words[i]; i++)
        if (bits & 1u << i)
            len += (size_t)snprintf(buf + len, 64 - len, "%s%s", len ? " or " : "", transport_words[i]);
    return buf;
}

/* Why the key means nothing for the service, after "means nothing"; "" where that is not known. */
static void say_why(char buf[128], const struct conf_key *key, const struct service *s)
{
    char words[64];

    buf[0] = '\0';
    if (!(key->transports & s->transports))
        snprintf(buf, 128, "without transport %s", print_transports(words, key->transports));
    else if (key->handlers & 1u << s->handler)
        snprintf(buf, 128, "%s", key->unless);
    else if (s->handler != HANDLER_NONE)
        snprintf(buf, 128, "for handler \"%s\"", handler_words[s->handler]);
}

/* A key that means nothing is an error where it was written for this very service. */
static void check_meaning(const struct check *c)
{
    char why[128];
    bool old;

    for (size_t i = 0; i < c->own->len; i++) {
        const struct conf_node *node = &c->own->item[i];
        const struct conf_key *key = conf_key_find(conf_keys, node->name, &old);

        if (!key || key->scope != CONF_SERVICE || conf_key_serves(key, c->service))
            continue;
        say_why(why, key, c->service);
        if (why[0])
            complaints_add_at(c->complaints, true, c->place, node->line, key->name, "means nothing %s", why);
    }
}

static void check_needs(const struct check *c)
{
    const struct service *s = c->service;

    if (s->handler == HANDLER_NONE && missing(c, "handler"))
        at_service(c, "needs a handler, such as handler = \"echo\"");
    if ((s->transports & TRANSPORTS_INTERNET) && !s->port && missing(c, "port"))
        at_service(c, "needs a port, such as port = 50000");
    if ((s->transports & TRANSPORTS_LOCAL) && !s->path && missing(c, "path"))
        at_service(c, "needs a path, such as path = \"/run/name.sock\"");
}

static void check_path(const struct check *c)
{
    struct service *s = c->service;
    struct group *group;
    char text[160], quoted[CONF_QUOTED_MAX];

    if (has(s, TRANSPORT_UNIX) && has(s, TRANSPORT_UNIXGRAM))
        at_key(c, true, "transport", "unix and unixgram cannot share one path; make them two services");
    if (!s->group)
        return;
    group = getgrnam(s->group);
    if (group) {
        s->gid = group->gr_gid;
        return;
    }
    snprintf(text, sizeof(text), "there is no group %s", conf_text_quote(quoted, s->group));
    at_key(c, true, "group", text);
}

/* TEXT, the value of KEY, is to be sent as a message. */
static void check_fit(const struct check *c, bool fatal, const char *key, const struct bytes *text,
                      const struct framing *framing)
{
    struct frame_dress dress;
    char word[FRAME_TEXT_MAX], why[FRAME_TEXT_MAX + 128];

    if (!text->data || frame_dress(framing, FRAME_END_LF, text->data, text->len, &dress) == 0)
        return;
    snprintf(why, sizeof(why), "cannot be sent, since it does not fit framing \"%s\"%s",
             frame_print(word, framing),
             framing->kind == FRAME_LINE ? "; leave the end of the line out, the framing adds it" : "");
    at_key(c, fatal, key, why);
}

/* Whether the date and the time, as handler/builtin.c writes them, can be sent whatever the day. */
static bool carries_date(const struct framing *framing)
{
    /* All that a date may have in it, and one of them. */
    static const char all[] =
        "Sunday, Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, January February "
        "March April May June July August September October November December 01, 2345 "
        "6789:01:23-",
                      one[] = "Wednesday, September 30, 2026 23:59:59-UTC";
    const char *text = framing->kind == FRAME_DELIMITER ? all : one;
    struct frame_dress dress;

    return framing->kind != FRAME_FIXED && /* its length varies */
           frame_dress(framing, FRAME_END_LF, text, strlen(text), &dress) == 0;
}

static void check_messages(const struct check *c)
{
    const struct service *s = c->service;

    if ((s->transports & TRANSPORTS_STREAM) && s->handler != HANDLER_PROGRAM)
        check_fit(c, own(c, "error_reply"), "error_reply", &s->error_reply, &s->framing);
    if (s->handler == HANDLER_HELPER && s->helper_protocol == HELPER_PLAIN && !s->one_way)
        check_fit(c, true, "helper_probe", &s->helper_probe, &s->helper_framing.is);
    if ((s->transports & TRANSPORTS_STREAM) && s->framing.kind == FRAME_FIXED &&
        s->framing.size > s->max_request)
        at_key(c, true, "framing", "is longer than max_request; no request could ever come");
    if ((s->transports & TRANSPORTS_STREAM) && s->handler == HANDLER_DAYTIME && !carries_date(&s->framing))
        at_key(c, true, "framing", "cannot carry the date and the time of handler \"daytime\"");
    if (has(s, TRANSPORT_UDP) && s->handler != HANDLER_NONE && s->handler != HANDLER_DISCARD &&
        s->max_reply_ratio == 0)
        at_key(c, false, "max_reply_ratio",
               "0 lets anybody turn the service into an amplifier against others");
    if (has(s, TRANSPORT_UDP) && s->handler == HANDLER_DAYTIME && missing(c, "max_reply_ratio"))
        at_key(c, false, "max_reply_ratio",
               "is 1, and only a datagram as long as the date is answered with it; with 48 any but an empty "
               "one is");
}

/* What a helper speaks when nothing is said: as the service, where that has an end to a message. */
static void choose_helper_framing(struct service *s)
{
    if (s->helper_framing.said)
        return;
    s->helper_framing.is = s->framing;
    if (s->framing.kind == FRAME_CLOSE || !(s->transports & TRANSPORTS_STREAM))
        s->helper_framing.is = (struct framing){ .kind = FRAME_NETSTRING };
}

static void check_command(const struct check *c)
{
    const struct service *s = c->service;
    char why[EXEC_WHY_MAX];

    if (s->handler == HANDLER_PROGRAM && (s->transports & TRANSPORTS_DATAGRAM))
        at_key(c, true, "handler",
               "a program needs connections, and so transport tcp or unix; a helper takes datagrams");
    if (s->command.len == 0 && missing(c, "command"))
        at_service(c, "needs a command, such as command = [ \"/bin/cat\" ]");
    if (s->command.len == 0 || !s->directory || !s->enabled)
        return;
    if (exec_check_directory(s->directory, why) < 0) {
        at_key(c, true, "directory", why);
        return;
    }
    int r = exec_check(s->command.item[0], s->directory, why);
    if (r != 0)
        at_key(c, r < 0, "command", why);
}

int (*conf_check_plugin)(const char *path, char *why, size_t size);

/* Whether it can be loaded is for a process that may die of it: the workers, and `sockd --check`. */
static void check_plugin(const struct check *c)
{
    const struct service *s = c->service;
    char why[EXEC_WHY_MAX], safe[EXEC_WHY_MAX / 2];

    if (!s->plugin && missing(c, "plugin"))
        at_service(c, "needs a plugin, such as plugin = \"/usr/lib/name.so\"");
    if (!s->plugin || !s->enabled)
        return;
    if (access(s->plugin, R_OK) < 0) {
        int error = errno;
        text_escape(safe, sizeof(safe), s->plugin, strlen(s->plugin));
        snprintf(why, sizeof(why), "%s: %s", safe, strerror(error));
        at_key(c, true, "plugin", why);
    } else if (conf_check_plugin && conf_check_plugin(s->plugin, why, sizeof(why)) < 0) {
        at_key(c, true, "plugin", why);
    }
}

void conf_check_service(struct service *service, const struct place *place, const struct conf_node *own_group,
                        const struct conf_node *top, struct complaints *complaints)
{
    const struct check c = { service, place, own_group, top, complaints };

    check_meaning(&c);
    check_needs(&c);
    if (service->transports & TRANSPORTS_LOCAL)
        check_path(&c);
    choose_helper_framing(service);
    if (service->handler == HANDLER_HELPER || service->handler == HANDLER_PROGRAM)
        check_command(&c);
    if (service->handler == HANDLER_PLUGIN)
        check_plugin(&c);
    check_messages(&c);
}

/* The exporter as a service, without a name; borrowed from CONF. */
static struct service exporter_of(const struct conf *conf)
{
    return (struct service){
        .file = conf->file,
        .line = conf->metrics.line,
        .enabled = conf->metrics.port > 0,
        .transports = 1u << TRANSPORT_TCP,
        .host = conf->metrics.host,
        .port = conf->metrics.port,
    };
}

static const char *print_who(char buf[128], const struct service *s)
{
    snprintf(buf, 128, s->name ? "service %s" : "the exporter of the metrics", s->name);
    return buf;
}

static void check_collision(const struct service *a, const struct service *b, struct complaints *complaints)
{
    char what[512], one[128], other[128];
    const char *host;

    if (!a->enabled || !b->enabled || !conf_clash(a, b, what, sizeof(what), &host))
        return;
    print_who(one, a);
    print_who(other, b);
    if (a == b && host)
        complaints_add(complaints, true, "%s:%d: %s wants %s, which collides with its host \"%s\"", b->file,
                       b->line, other, what, host);
    else if (a == b)
        complaints_add(complaints, true, "%s:%d: %s has %s twice", b->file, b->line, other, what);
    else if (host)
        complaints_add(complaints, true, "%s:%d: %s wants %s, which collides with host \"%s\" of %s (%s:%d)",
                       b->file, b->line, other, what, host, one, a->file, a->line);
    else
        complaints_add(complaints, true, "%s:%d: %s wants %s, as does %s (%s:%d)", b->file, b->line, other,
                       what, one, a->file, a->line);
}

/* What looks like a file of a directory is most often one. */
static const char *hint_at_services(const struct conf_node *top)
{
    bool old;

    for (size_t i = 0; top && !conf_node_find(top, "services") && i < top->len; i++) {
        const struct conf_key *key = conf_key_find(conf_keys, top->item[i].name, &old);
        if (key && key->scope == CONF_SERVICE)
            return "; keys at top level are defaults: a service is a group within \"services\", or a file "
                   "in the directory NAME.d, which is read with NAME.conf";
    }
    return "";
}

void conf_check_all(const struct conf *conf, const struct conf_node *top, struct complaints *complaints)
{
    const struct service exporter = exporter_of(conf);
    size_t enabled = 0;

    check_collision(&exporter, &exporter, complaints);
    for (size_t i = 0; i < conf->n_services; i++) {
        const struct service *s = &conf->services[i];

        enabled += s->enabled;
        check_collision(&exporter, s, complaints);
        for (size_t j = 0; j <= i; j++)
            check_collision(&conf->services[j], s, complaints);
        if (s->max_request > conf->max_memory)
            complaints_add(complaints, false, "%s:%d: service %s: max_request is larger than max_memory",
                           s->file, s->line, s->name);
    }
    if (!enabled && complaints->n_fatal == 0)
        complaints_add(complaints, true, "%s: no service is %s%s", conf->file,
                       conf->n_services ? "enabled" : "configured",
                       conf->n_services ? "" : hint_at_services(top));
}

bool conf_check_name(const char *name)
{
    size_t len = strlen(name);

    if (len < 1 || len > 63 || !isalpha((unsigned char)name[0]))
        return false;
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '_' && *p != '-')
            return false;
    return true;
}
