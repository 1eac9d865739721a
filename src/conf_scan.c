/*
 * The scanner in front of libconfig. Pure. It knows strings, comments and numbers as libconfig 1.5 does, and
 * leaves every other syntax error to it.
 *
 * Measured with libconfig 1.5: 5000000000 becomes 705032704, 0xFFFFFFFF becomes -1, 99999999999999999999L
 * becomes the largest number of 64 bits, and the byte of "\x00" is lost. Later releases differ; here they are
 * all the same.
 */
#include "conf_scan.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct scan {
    const char *at, *end;
    int line;
    unsigned depth;
    struct conf_fault *fault;
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

static void skip_name(struct scan *s)
{
    while (isalnum(peek(s, 0)) || peek(s, 0) == '-' || peek(s, 0) == '_' || peek(s, 0) == '*')
        s->at++;
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

int conf_scan(const char *text, size_t len, struct conf_fault *ret)
{
    struct scan s = { .at = text, .end = text + len, .line = 1, .fault = ret };
    const char *nul = memchr(text, '\0', len);
    int r;

    for (const char *p = text; nul && p < nul; p++)
        s.line += *p == '\n';
    if (nul)
        return found(&s, s.line, "a NUL byte; this is no text file");
    while (s.at < s.end) {
        r = scan_one(&s);
        if (r < 0)
            return r;
    }
    return 0;
}
