/*
 * The effective configuration as text that loads again to the same, and the difference of two configurations
 * in one line. Both go by the table: a value is what its type prints, and two values are equal when they
 * print the same.
 */
#include "conf.h"

#include "base/text.h"
#include "conf_key.h"

#include <stdlib.h>
#include <string.h>

/* What one line of conf_diff names at most; the rest is a count. */
#define CHANGES_MAX 32
/* Of one value in it. */
#define VALUE_MAX 60

static void show_key(const struct conf_key *key, const void *base, const char *indent, enum conf_view view,
                     FILE *out)
{
    char *text = conf_key_text(key, base, view);
    bool preset = text && key->preset && strcmp(text, key->preset) == 0;

    if (text)
        fprintf(out, "%s%s = %s;%s\n", indent, key->name, text, preset ? " # default" : "");
    free(text);
}

static void show_service(const struct service *s, enum conf_view view, FILE *out)
{
    fprintf(out, "    %s:\n    {\n", s->name);
    for (const struct conf_key *key = conf_keys; key->name; key++)
        if (key->scope == CONF_SERVICE && conf_key_serves(key, s))
            show_key(key, s, "        ", view, out);
    fputs("    };\n", out);
}

void conf_show(const struct conf *conf, enum conf_view view, FILE *out)
{
    for (const struct conf_key *key = conf_keys; key->name; key++)
        if (key->scope == CONF_DAEMON)
            show_key(key, conf, "", view, out);
    fputs("\nservices:\n{\n", out);
    for (size_t i = 0; i < conf->n_services; i++) {
        fputs(i ? "\n" : "", out);
        show_service(&conf->services[i], view, out);
    }
    fputs("};\n", out);
}

/* A line of changes that grows. */
struct changes {
    FILE *out;
    size_t n;
};

/* True when one more may be named; then its separator is written. */
static bool next_change(struct changes *c, const char *separator)
{
    if (c->n++ >= CHANGES_MAX)
        return false;
    fputs(c->n > 1 ? separator : "", c->out);
    return true;
}

/* A word in quotes, for a reader; other values as they stand in the file. */
static void print_plain(const char *text, FILE *out)
{
    size_t len = strlen(text);
    bool quoted = len > 2 && text[0] == '"' && strcspn(text + 1, "\"\\ ;,") == len - 2;

    if (strcmp(text, "\"\"") == 0 || strcmp(text, "[ ]") == 0 || strcmp(text, "{ }") == 0)
        fputs("none", out);
    else if (quoted)
        fprintf(out, "%.*s", (int)(len - 2), text + 1);
    else
        fprintf(out, "%.*s%s", VALUE_MAX, text, len > VALUE_MAX ? "..." : "");
}

/* NULL for a key that means nothing here, or without memory. */
static char *text_of(const struct conf_key *key, enum conf_scope scope, const void *base, enum conf_view view)
{
    if (key->scope != scope || (scope == CONF_SERVICE && !conf_key_serves(key, base)))
        return NULL;
    return conf_key_text(key, base, view);
}

/* It goes to the log, and to all who may look. */
static void print_change(const struct conf_key *key, enum conf_scope scope, const void *from, const void *to,
                         FILE *out)
{
    char *before = text_of(key, scope, from, CONF_PUBLIC), *after = text_of(key, scope, to, CONF_PUBLIC);

    fprintf(out, "%s ", key->name);
    if (before && after && strcmp(before, after) == 0) {
        fputs("changed", out);
    } else {
        print_plain(before ? before : "none", out);
        fputs(" -> ", out);
        print_plain(after ? after : "none", out);
    }
    free(before);
    free(after);
}

static bool is_same(const struct conf_key *key, enum conf_scope scope, const void *from, const void *to)
{
    char *before = text_of(key, scope, from, CONF_WHOLE), *after = text_of(key, scope, to, CONF_WHOLE);
    bool same = !before == !after && strcmp(before ? before : "", after ? after : "") == 0;

    free(before);
    free(after);
    return same;
}

static void compare_keys(struct changes *c, enum conf_scope scope, const char *name, const void *from,
                         const void *to)
{
    bool first = true;

    for (const struct conf_key *key = conf_keys; key->name; key++) {
        if (is_same(key, scope, from, to) || !next_change(c, first ? "; " : ", "))
            continue;
        if (first && name)
            fprintf(c->out, "%s: ", name);
        print_change(key, scope, from, to, c->out);
        first = false;
    }
}

static void compare_services(struct changes *c, const struct conf *from, const struct conf *to)
{
    for (size_t i = 0; i < to->n_services; i++) {
        const struct service *s = &to->services[i], *old = conf_find(from, s->name);

        if (old)
            compare_keys(c, CONF_SERVICE, s->name, old, s);
        else if (next_change(c, "; "))
            fprintf(c->out, "%s added", s->name);
    }
    for (size_t i = 0; i < from->n_services; i++)
        if (!conf_find(to, from->services[i].name) && next_change(c, "; "))
            fprintf(c->out, "%s removed", from->services[i].name);
}

char *conf_diff(const struct conf *from, const struct conf *to)
{
    char *text = NULL, *safe;
    size_t len = 0;
    struct changes c = { .out = open_memstream(&text, &len) };

    if (!c.out)
        return NULL;
    compare_keys(&c, CONF_DAEMON, NULL, from, to);
    compare_services(&c, from, to);
    if (c.n == 0)
        fputs("nothing changed", c.out);
    if (c.n > CHANGES_MAX)
        fprintf(c.out, "; and %zu more", c.n - CHANGES_MAX);
    if (!text_close(c.out, &text))
        return NULL;
    safe = malloc(4 * len + 1);
    if (safe)
        text_make_safe(safe, 4 * len + 1, text, len);
    free(text);
    return safe;
}
