/*
 * Loading the configuration: reads the files, takes every key through its row of the table, and hands back a
 * struct conf or the list of everything that is wrong. A value comes from the service itself, else from the
 * top level of the main file, else from the table. Runs in the master, in `sockd --check` and in sockctl;
 * logs nothing.
 */
#include "conf.h"

#include "base/fd.h"
#include "base/text.h"
#include "conf_check.h"
#include "conf_key.h"
#include "conf_text.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((size_t)1 << 20)

struct loading {
    struct complaints *complaints;
    struct conf *conf;
    struct conf_node *presets; /* owns; what the table says */
    struct conf_node *top;     /* owns; the main file, NULL while it could not be read */
    bool full;                 /* that there are too many services was told */
};

static void done_fields(enum conf_scope scope, void *base)
{
    for (const struct conf_key *key = conf_keys; key->name; key++)
        if (key->scope == scope && key->type->done)
            key->type->done(conf_key_field(key, base));
}

static void done_service(struct service *s)
{
    done_fields(CONF_SERVICE, s);
    free(s->name);
    free(s->file);
}

struct conf *conf_ref(struct conf *conf)
{
    conf->refs++;
    return conf;
}

void conf_unref(struct conf *conf)
{
    if (!conf || --conf->refs > 0)
        return;
    for (size_t i = 0; i < conf->n_services; i++)
        done_service(&conf->services[i]);
    free(conf->services);
    done_fields(CONF_DAEMON, conf);
    free(conf->file);
    free(conf);
}

const struct service *conf_find(const struct conf *conf, const char *name)
{
    for (size_t i = 0; i < conf->n_services; i++)
        if (strcmp(conf->services[i].name, name) == 0)
            return &conf->services[i];
    return NULL;
}

static void out_of_memory(struct loading *l)
{
    complaints_add(l->complaints, true, "%s: out of memory", l->conf->file);
}

/* The defaults of the table as a parsed file, so that they take the way of all values. */
static int parse_presets(struct conf_node **ret)
{
    struct conf_fault fault;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    int r = -ENOMEM;

    if (!out)
        return -ENOMEM;
    for (const struct conf_key *key = conf_keys; key->name; key++)
        if (key->preset)
            fprintf(out, "%s = %s;\n", key->name, key->preset);
    if (fclose(out) == 0)
        r = conf_node_parse(text, len, ret, &fault);
    free(text);
    assert(r != -EINVAL);
    return r;
}

/* Takes out of LIST the element that WHY is about; false when it is about none, or there is no other. */
static bool take_out(struct conf_node *list, const struct conf_fault *why)
{
    size_t i = 0;

    while (i < list->len && &list->item[i] != why->node)
        i++;
    if (i == list->len || list->len == 1)
        return false;
    memmove(&list->item[i], &list->item[i + 1], (--list->len - i) * sizeof(*list->item));
    return true;
}

/* WHY is about the first wrong element of a list that nobody looks at any more; the others are told too. */
static void complain_of_others(struct loading *l, const struct place *place, const struct conf_key *key,
                               struct conf_node *list, struct conf_fault *why)
{
    union {
        struct service service;
        struct conf conf;
    } scratch = { .service = { .name = NULL } };
    void *field = conf_key_field(key, &scratch);
    int r = -EINVAL;

    while (r == -EINVAL && take_out(list, why)) {
        r = key->type->parse(key, list, field, why);
        if (r == -EINVAL && why->node != list)
            complaints_add_at(l->complaints, true, place, why->line, key->name, "%s", why->text);
    }
    if (r == 0 && key->type->done)
        key->type->done(field);
}

/* True when the field is set; a bad node is complained of once and never looked at again. */
static bool set_field(struct loading *l, const struct place *place, const struct conf_key *key, void *base,
                      struct conf_node *node)
{
    struct conf_fault why;
    int r;

    if (!node || node->bad)
        return false;
    r = key->type->parse(key, node, conf_key_field(key, base), &why);
    if (r == 0)
        return true;
    node->bad = true;
    if (r == -EINVAL)
        complaints_add_at(l->complaints, true, place, why.line, key->name, "%s", why.text);
    else
        out_of_memory(l);
    if (r == -EINVAL)
        complain_of_others(l, place, key, node, &why);
    return false;
}

static void set_fields(struct loading *l, enum conf_scope scope, const struct place *place,
                       const struct conf_node *own, void *base)
{
    for (const struct conf_key *key = conf_keys; key->name; key++) {
        if (key->scope != scope)
            continue;
        if (!set_field(l, place, key, base, conf_node_find(own, key->name)) &&
            !set_field(l, place, key, base, conf_node_find(l->top, key->name)))
            set_field(l, place, key, base, conf_node_find(l->presets, key->name));
    }
}

/* The key that the user may have meant; NULL when none is near. */
static const char *suggest_key(const char *name, bool top)
{
    const char *names[128];
    size_t n = 0;

    for (const struct conf_key *key = conf_keys; key->name; key++) {
        assert(n + 2 < sizeof(names) / sizeof(names[0]));
        if (top || key->scope == CONF_SERVICE)
            names[n++] = key->name;
    }
    if (top)
        names[n++] = "services";
    names[n] = NULL;
    return text_suggest(name, names);
}

static void complain_unknown(struct loading *l, const struct place *place, const struct conf_node *node,
                             bool top)
{
    const char *near = suggest_key(node->name, top);
    bool old,
        daemon = !top && (conf_key_find(conf_keys, node->name, &old) || !strcmp(node->name, "services"));
    char name[80];

    snprintf(name, sizeof(name), "%.64s%s", node->name, strlen(node->name) > 64 ? "..." : "");
    if (daemon)
        complaints_add_at(l->complaints, true, place, node->line, name, "belongs at the top level of %s",
                          l->conf->file);
    else if (near)
        complaints_add_at(l->complaints, true, place, node->line, name, "unknown key; did you mean \"%s\"?",
                          near);
    else
        complaints_add_at(l->complaints, true, place, node->line, name, "unknown key");
}

/* Every name must be a key; one that is known by an older name gets its name of today. */
static void check_keys(struct loading *l, const struct place *place, struct conf_node *group, bool top)
{
    for (size_t i = 0; i < group->len; i++) {
        struct conf_node *node = &group->item[i];
        bool old = false;
        const struct conf_key *key = conf_key_find(conf_keys, node->name, &old);

        if (top && strcmp(node->name, "services") == 0)
            continue;
        if (!key || (!top && key->scope == CONF_DAEMON)) {
            complain_unknown(l, place, node, top);
        } else if (old) {
            complaints_add_at(l->complaints, false, place, node->line, node->name, "is now called %s",
                              key->name);
            node->name = key->name;
        }
    }
}

/* A new service at the end; NULL when it cannot be, which was complained of. */
static struct service *append_service(struct loading *l, const char *name, const char *file, int line)
{
    struct conf *conf = l->conf;
    const struct service *other = conf_find(conf, name);
    struct service *grown, *s;

    if (other) {
        complaints_add(l->complaints, true, "%s:%d: service %s is in %s:%d already", file, line, name,
                       other->file, other->line);
        return NULL;
    }
    if (conf->n_services == CONF_SERVICES_MAX) {
        if (!l->full)
            complaints_add(l->complaints, true, "%s:%d: more than %d services", file, line,
                           CONF_SERVICES_MAX);
        l->full = true;
        return NULL;
    }
    grown = reallocarray(conf->services, conf->n_services + 1, sizeof(*grown));
    if (grown) {
        conf->services = grown;
        s = &grown[conf->n_services++];
        *s = (struct service){ .name = strdup(name), .file = strdup(file), .line = line };
        if (s->name && s->file)
            return s;
        free(s->name);
        free(s->file);
        conf->n_services--;
    }
    out_of_memory(l);
    return NULL;
}

static void add_service(struct loading *l, const char *name, const struct place *place, int line,
                        struct conf_node *group)
{
    struct service *s = append_service(l, name, place->file, line);

    if (!s)
        return;
    check_keys(l, place, group, false);
    set_fields(l, CONF_SERVICE, place, group, s);
    conf_check_service(s, place, group, l->top, l->complaints);
}

static void add_main_service(struct loading *l, struct conf_node *node)
{
    const struct place services = { l->conf->file, "services." };
    char prefix[128], quoted[CONF_QUOTED_MAX];
    const struct place place = { l->conf->file, prefix };

    if (!conf_check_name(node->name)) {
        complaints_add_at(
            l->complaints, true, &services, node->line, NULL,
            "%s is no name of a service; it must begin with a letter, have letters, digits, - and _"
            " only, and at most 63 of them",
            conf_text_quote(quoted, node->name));
        return;
    }
    if (node->kind != NODE_GROUP) {
        complaints_add_at(l->complaints, true, &services, node->line, node->name,
                          "must be a group of keys, as in %s: { port = 50000; handler = \"echo\"; };",
                          node->name);
        return;
    }
    snprintf(prefix, sizeof(prefix), "services.%s.", node->name);
    add_service(l, node->name, &place, node->line, node);
}

/* The service keys at top level are looked at even when no service takes them. */
static void check_defaults(struct loading *l, const struct place *place)
{
    struct service scratch = { .name = NULL };

    set_fields(l, CONF_SERVICE, place, l->top, &scratch);
    done_service(&scratch);
}

static void load_main(struct loading *l, const char *text, size_t len)
{
    const struct place place = { l->conf->file, "" };
    struct conf_node *services;
    struct conf_fault fault;
    int r = conf_node_parse(text, len, &l->top, &fault);

    if (r == -EINVAL)
        complaints_add_at(l->complaints, true, &place, fault.line, NULL, "%s", fault.text);
    else if (r < 0)
        out_of_memory(l);
    set_fields(l, CONF_DAEMON, &place, l->top, l->conf);
    if (r < 0)
        return;
    check_keys(l, &place, l->top, true);
    check_defaults(l, &place);
    services = conf_node_find(l->top, "services");
    if (services && services->kind != NODE_GROUP)
        complaints_add_at(l->complaints, true, &place, services->line, "services",
                          "must be a group of services, as in services: { echo: { port = 50000; handler = "
                          "\"echo\"; }; };");
    else if (services)
        for (size_t i = 0; i < services->len; i++)
            add_main_service(l, &services->item[i]);
}

/* Whoever can write it can have sockd execute what he likes. */
static void warn_of_writers(struct loading *l, const char *path, const struct stat *st)
{
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        complaints_add(l->complaints, false, "%s: others than its owner may write it (mode %04o)", path,
                       (unsigned)st->st_mode & 07777);
    if (st->st_uid != 0 && st->st_uid != geteuid())
        complaints_add(l->complaints, false,
                       "%s: its owner, uid %u, is neither root nor the user that sockd runs as", path,
                       (unsigned)st->st_uid);
}

/* 0 and the text, or -errno, complained of. */
static int read_file(struct loading *l, const char *file, char **ret_text, size_t *ret_len)
{
    struct stat st;
    int r = fd_read_file(file, FILE_MAX, ret_text, ret_len, &st);

    if (r == -EFBIG)
        complaints_add(l->complaints, true, "%s: is larger than %zu bytes", file, FILE_MAX);
    else if (r == -EINVAL)
        complaints_add(l->complaints, true, "%s: is no regular file", file);
    else if (r < 0)
        complaints_add(l->complaints, true, "%s: cannot be read: %s", file, strerror(-r));
    else
        warn_of_writers(l, file, &st);
    return r;
}

static void load_service_file(struct loading *l, const char *file, const char *name)
{
    const struct place place = { file, "" };
    struct conf_node *root = NULL;
    struct conf_fault fault;
    char *text;
    size_t len;
    int r;

    if (read_file(l, file, &text, &len) < 0)
        return;
    r = conf_node_parse(text, len, &root, &fault);
    free(text);
    if (r == -EINVAL)
        complaints_add_at(l->complaints, true, &place, fault.line, NULL, "%s", fault.text);
    else if (r < 0)
        out_of_memory(l);
    else
        add_service(l, name, &place, 1, root);
    conf_node_free(root);
}

static int is_service_file(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return entry->d_name[0] != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".conf") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void load_entry(struct loading *l, const char *directory, const char *entry)
{
    char *file = NULL, *name = strndup(entry, strlen(entry) - 5);

    if (!name || asprintf(&file, "%s/%s", directory, entry) < 0)
        out_of_memory(l);
    else if (!conf_check_name(name))
        complaints_add(
            l->complaints, true,
            "%s: the name before .conf is no name of a service; it must begin with a letter, have letters,"
            " digits, - and _ only, and at most 63 of them",
            file);
    else
        load_service_file(l, file, name);
    free(file);
    free(name);
}

static void load_directory(struct loading *l)
{
    size_t len = strlen(l->conf->file);
    struct dirent **entries = NULL;
    char *directory = NULL;
    struct stat st;
    int n;

    if (len > 5 && strcmp(l->conf->file + len - 5, ".conf") == 0)
        len -= 5;
    if (asprintf(&directory, "%.*s.d", (int)len, l->conf->file) < 0) {
        out_of_memory(l);
        return;
    }
    n = scandir(directory, &entries, is_service_file, by_name);
    if (n < 0 && errno != ENOENT)
        complaints_add(l->complaints, true, "%s: cannot be read: %s", directory, strerror(errno));
    if (n >= 0 && stat(directory, &st) == 0)
        warn_of_writers(l, directory, &st);
    for (int i = 0; i < n; i++) {
        load_entry(l, directory, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    free(directory);
}

static int start(struct loading *l, const char *file, struct complaints *complaints)
{
    *l = (struct loading){ .complaints = complaints, .conf = calloc(1, sizeof(*l->conf)) };
    if (!l->conf)
        return -ENOMEM;
    l->conf->refs = 1;
    l->conf->file = strdup(file);
    return l->conf->file ? parse_presets(&l->presets) : -ENOMEM;
}

static int finish(struct loading *l, struct conf **ret)
{
    conf_check_all(l->conf, l->top, l->complaints);
    if (l->complaints->n_fatal)
        return -EINVAL;
    *ret = l->conf;
    l->conf = NULL;
    return 0;
}

static void done(struct loading *l)
{
    conf_node_free(l->presets);
    conf_node_free(l->top);
    conf_unref(l->conf);
}

int conf_load(const char *file, struct complaints *complaints, struct conf **ret)
{
    struct loading l;
    char *text = NULL;
    size_t len;
    int r = start(&l, file, complaints);

    if (r == 0) {
        int unread = read_file(&l, file, &text, &len);
        if (unread == 0)
            load_main(&l, text, len);
        else /* as one that could not be parsed: what it may have is not missed in the directory */
            set_fields(&l, CONF_DAEMON, &(struct place){ file, "" }, NULL, l.conf);
        load_directory(&l);
        r = finish(&l, ret);
        r = unread < 0 ? unread : r;
    }
    free(text);
    done(&l);
    return r;
}

int conf_load_text(const char *name, const char *text, size_t len, struct complaints *complaints,
                   struct conf **ret)
{
    struct loading l;
    int r = start(&l, name, complaints);

    if (r == 0) {
        load_main(&l, text, len);
        r = finish(&l, ret);
    }
    done(&l);
    return r;
}
