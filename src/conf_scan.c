/*
 * The scanner in front of libconfig. Pure. It knows strings, comments and numbers as libconfig 1.5 does, and
 * leaves every other syntax error to it.
 *
 * Measured with libconfig 1.5: 5000000000 becomes 705032704, 0xFFFFFFFF becomes -1, 99999999999999999999L
 * becomes the largest number of 64 bits, and the byte of "\x00" is lost. Later releases differ; here they are
 * all the same.
 */
#include "conf_scan.h"

#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A key, or the name of a group. */
struct key {
    const char *at;            /* in the text */
    size_t len, order, parent; /* 1 + the order of the name whose group it is in; 0: the top level */
    unsigned group;            /* the number of that group */
    int line;
};

/* All of them. By depth: the number of the group that is open, and 1 + the order of its name. */
struct keys {
    struct key *name; /* owns */
    size_t len, cap, parent[CONF_DEPTH_MAX + 1];
    unsigned group[CONF_DEPTH_MAX + 1], last_group;
    bool failed; /* no memory */
};

struct scan {
    const char *at, *end;
    int line;
    unsigned depth;
    struct conf_fault *fault;
    struct keys *names; /* NULL: they are not wanted */
};

__attribute__((format(printf, 3, 4))) static int found(struct scan *s, int line, const char *format, ...)
{
    va_list args;

    s->fault->line = line;
    va_start(args, format);
    vsnprintf(s->fault->text, sizeof(s->fault->text), format, args);
    va_end(args);
    return -EINVAL;
}

static int peek(const struct scan *s, size_t n)
{
    return (size_t)(s->end - s->at) > n ? (unsigned char)s->at[n] : -1;
}

static void skip_to_line_end(struct scan *s)
{
    while (s->at < s->end && *s->at != '\n')
        s->at++;
}

static int skip_comment(struct scan *s)
{
    int first = s->line;

    for (s->at += 2; s->at < s->end; s->at++) {
        if (*s->at == '*' && peek(s, 1) == '/') {
            s->at += 2;
            return 0;
        }
        if (*s->at == '\n')
            s->line++;
    }
    return found(s, first, "the comment that begins here does not end");
}

static int skip_string(struct scan *s)
{
    int first = s->line;

    for (s->at++; s->at < s->end; s->at++) {
        if (*s->at == '"') {
            s->at++;
            return 0;
        }
        if (*s->at == '\\') {
            if (tolower(peek(s, 1)) == 'x' && peek(s, 2) == '0' && peek(s, 3) == '0')
                return found(s, s->line, "\\x00 is lost when a string is read; write \\\\0 instead");
            if (peek(s, 1) != '\n')
                s->at++;
        } else if (*s->at == '\n') {
            s->line++;
        }
    }
    return found(s, first, "the string that begins here does not end");
}

static int check_decimal(struct scan *s, const char *start, bool is_long)
{
    int len = (int)(s->at - start);
    long long value;

    errno = 0;
    value = strtoll(start, NULL, 10);
    if (errno == ERANGE)
        return found(s, s->line, "the number %.*s%s does not fit 64 bits", len > 40 ? 40 : len, start,
                     len > 40 ? "..." : "");
    if (!is_long && (value > INT32_MAX || value < INT32_MIN))
        return found(s, s->line, "the number %.*s does not fit 32 bits; write %lldL", len > 40 ? 40 : len,
                     start, value);
    return 0;
}

static int check_hex(struct scan *s, const char *start, bool is_long)
{
    int len = (int)(s->at - start);
    unsigned long long value;

    errno = 0;
    value = strtoull(start, NULL, 16);
    if (errno == ERANGE || value > INT64_MAX)
        return found(s, s->line, "the number %.*s%s does not fit 64 bits", len > 40 ? 40 : len, start,
                     len > 40 ? "..." : "");
    if (!is_long && value > INT32_MAX)
        return found(s, s->line, "the number %.*s does not fit 32 bits; write 0x%llXL", len > 40 ? 40 : len,
                     start, value);
    return 0;
}

static int scan_number(struct scan *s)
{
    const char *start = s->at;
    bool hex = *start == '0' && tolower(peek(s, 1)) == 'x' && isxdigit(peek(s, 2));

    s->at += hex ? 2 : 1;
    while (hex ? isxdigit(peek(s, 0)) : isdigit(peek(s, 0)))
        s->at++;
    if (!hex && (peek(s, 0) == '.' || tolower(peek(s, 0)) == 'e')) {
        while (isdigit(peek(s, 0)) || (peek(s, 0) > 0 && strchr(".eE+-", peek(s, 0))))
            s->at++;
        return 0; /* no key takes a fraction */
    }
    return hex ? check_hex(s, start, peek(s, 0) == 'L') : check_decimal(s, start, peek(s, 0) == 'L');
}

static void keep_name(struct scan *s, const char *start)
{
    struct keys *names = s->names;
    const char *next = s->at;

    while (next < s->end && isspace((unsigned char)*next))
        next++;
    if (next == s->end || (*next != '=' && *next != ':'))
        return; /* a value */
    if (names->len == names->cap) {
        size_t cap = names->cap ? 2 * names->cap : 64;
        struct key *grown = reallocarray(names->name, cap, sizeof(*grown));
        names->failed = !grown;
        if (!grown)
            return;
        names->name = grown;
        names->cap = cap;
    }
    names->name[names->len] = (struct key){
        .at = start,
        .len = (size_t)(s->at - start),
        .order = names->len,
        .parent = names->parent[s->depth],
        .group = names->group[s->depth],
        .line = s->line,
    };
    names->len++;
}

/* A group, or a list. What stands in a list has no name, and goes by that of the list. */
static void open_group(struct scan *s)
{
    struct keys *names = s->names;
    unsigned around = s->depth - 1;
    bool named = names->len > 0 && names->name[names->len - 1].group == names->group[around];

    names->group[s->depth] = ++names->last_group;
    names->parent[s->depth] = named ? names->len : names->parent[around];
}

static void skip_name(struct scan *s)
{
    const char *start = s->at;

    while (isalnum(peek(s, 0)) || peek(s, 0) == '-' || peek(s, 0) == '_' || peek(s, 0) == '*')
        s->at++;
    if (s->names && !s->names->failed)
        keep_name(s, start);
}

static int scan_mark(struct scan *s)
{
    switch (*s->at) {
    case '\n':
        s->line++;
        break;
    case '{':
    case '(':
    case '[':
        if (++s->depth > CONF_DEPTH_MAX)
            return found(s, s->line, "groups and lists are nested more than %d deep", CONF_DEPTH_MAX);
        if (s->names)
            open_group(s);
        break;
    case '}':
    case ')':
    case ']':
        if (s->depth)
            s->depth--;
        break;
    case '@':
        if (s->end - s->at >= 8 && memcmp(s->at, "@include", 8) == 0)
            return found(s, s->line,
                         "@include is not supported; a service may have a file of its own in the directory "
                         "beside this file");
        break;
    }
    s->at++;
    return 0;
}

static int scan_one(struct scan *s)
{
    char c = *s->at;

    if (c == '#' || (c == '/' && peek(s, 1) == '/'))
        skip_to_line_end(s);
    else if (c == '/' && peek(s, 1) == '*')
        return skip_comment(s);
    else if (c == '"')
        return skip_string(s);
    else if (isdigit((unsigned char)c) || ((c == '-' || c == '+') && isdigit(peek(s, 1))))
        return scan_number(s);
    else if (isalpha((unsigned char)c) || c == '*')
        skip_name(s);
    else
        return scan_mark(s);
    return 0;
}

static int by_group_and_name(const void *a, const void *b)
{
    const struct key *x = a, *y = b;

    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    int r = memcmp(x->at, y->at, x->len);
    return r ? r : x->order < y->order ? -1 : 1;
}

static int by_order(const void *a, const void *b)
{
    const struct key *x = a, *y = b;

    return x->order < y->order ? -1 : 1;
}

/* The first that is there already: its order, and in *RET_LINE where that is. SIZE_MAX: there is none. */
static size_t find_twice(struct keys *names, int *ret_line)
{
    size_t first = SIZE_MAX;

    qsort(names->name, names->len, sizeof(*names->name), by_group_and_name);
    for (size_t i = 1; i < names->len; i++) {
        const struct key *one = &names->name[i - 1], *other = &names->name[i];
        if (one->group != other->group || one->len != other->len ||
            memcmp(one->at, other->at, one->len) != 0 || other->order >= first)
            continue;
        first = other->order;
        *ret_line = one->line;
    }
    qsort(names->name, names->len, sizeof(*names->name), by_order);
    return first;
}

/* "services.echo.port"; each part is cut at a length that no key has. */
static void print_path(FILE *out, const struct keys *names, size_t order)
{
    const struct key *name = &names->name[order];

    if (name->parent)
        print_path(out, names, name->parent - 1);
    fprintf(out, "%s%.*s", name->parent ? "." : "", name->len > 64 ? 64 : (int)name->len, name->at);
}

int conf_scan_twice(const char *text, size_t len, struct conf_fault *ret)
{
    struct keys names = { .len = 0 };
    struct conf_fault unused;
    struct scan s = { .at = text, .end = text + len, .line = 1, .fault = &unused, .names = &names };
    int line = 0, r = 0;

    while (r == 0 && s.at < s.end)
        r = scan_one(&s);
    size_t first = names.len > 0 ? find_twice(&names, &line) : SIZE_MAX;
    FILE *out = first < SIZE_MAX ? fmemopen(ret->text, sizeof(ret->text) - 1, "w") : NULL;
    r = out ? 0 : -ENOENT;
    if (out) {
        ret->line = names.name[first].line;
        print_path(out, &names, first);
        fprintf(out, ": is in line %d already", line);
        fclose(out);
        ret->text[sizeof(ret->text) - 1] = '\0'; /* where it was too long */
    }
    free(names.name);
    return r;
}

static bool is_comment(const struct scan *s)
{
    return peek(s, 0) == '#' || (peek(s, 0) == '/' && (peek(s, 1) == '/' || peek(s, 1) == '*'));
}

/* Something stands here that a '=' or ':' follows. */
static bool is_name(const char *at)
{
    while (isalnum((unsigned char)*at) || (*at && strchr("-_*", *at)))
        at++;
    at += strspn(at, " \t\r\n");
    return *at == '=' || *at == ':';
}

/* The length of what stands here as a value, but should be in double quotes; 0: it is well. */
static size_t find_bare(const char *at)
{
    size_t len = strcspn(at, " \t\r\n;,()[]{}\"#=");
    char *end;

    if (len == 0 || (len == 4 && strncasecmp(at, "true", 4) == 0) ||
        (len == 5 && strncasecmp(at, "false", 5) == 0))
        return 0;
    if (*at == '\'')
        return strcspn(at + 1, "'\r\n") + 1;
    if (!strchr("+-.0123456789", *at))
        return len;
    (void)strtod(at, &end);
    end += strspn(end, "L");
    return end < at + len && strncmp(end, "//", 2) != 0 && strncmp(end, "/*", 2) != 0 ? len : 0;
}

/* BEFORE is the last byte of what stands in front of it. */
static int hint_at(const char *at, char before, struct conf_fault *ret)
{
    bool name = is_name(at), value = before && strchr("=:,[(", before);
    size_t len;

    if (!value || (name && before != '=')) {
        if (!name || isalpha((unsigned char)*at) || !(isdigit((unsigned char)*at) || strchr("-_", *at)))
            return -ENOENT;
        len = strcspn(at, " \t\r\n=:");
        snprintf(ret->text, sizeof(ret->text), "syntax error; %.*s is no name; it must begin with a letter",
                 len > 64 ? 64 : (int)len, at);
        return 0;
    }
    len = find_bare(at);
    if (len == 0)
        return -ENOENT;
    char safe[64];
    bool quoted = *at == '\'';
    text_escape(safe, sizeof(safe), at + quoted, len - quoted);
    snprintf(ret->text, sizeof(ret->text), "syntax error; text goes in double quotes, as in \"%s\"", safe);
    return 0;
}

int conf_scan_hint(const char *text, struct conf_fault *ret)
{
    struct conf_fault unused;
    struct scan s = { .at = text, .end = text + strlen(text), .line = 1, .fault = &unused };
    char before = '\0';

    while (s.at < s.end && s.line <= ret->line) {
        bool counts = !isspace(peek(&s, 0)) && !is_comment(&s);
        if (counts && s.line == ret->line && hint_at(s.at, before, ret) == 0)
            return 0;
        if (scan_one(&s) < 0)
            break;
        if (counts)
            before = s.at[-1];
    }
    return -ENOENT;
}

int conf_scan(const char *text, size_t len, struct conf_fault *ret)
{
    struct scan s = { .at = text, .end = text + len, .line = 1, .fault = ret };
    const char *nul = memchr(text, '\0', len);
    int r;

    for (const char *p = text; nul && p < nul; p++)
        s.line += *p == '\n';
    if (nul)
        return found(&s, s.line, "a NUL byte; this is no text file");
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        return found(&s, 1, "the file begins with a byte order mark; save it as UTF-8 without one");
    while (s.at < s.end) {
        r = scan_one(&s);
        if (r < 0)
            return r;
    }
    return 0;
}
