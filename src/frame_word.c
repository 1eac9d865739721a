/*
 * The textual form of a framing, one word such as "length:u16be,offset=4", as the configuration and `sockctl
 * -F` read it. Pure. What frame_print prints, frame_parse reads back to the same framing; each complaint says
 * what to write instead.
 */
#include "base/text.h"
#include "frame.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {
    [FRAME_LINE] = "line",
    [FRAME_DELIMITER] = "delimiter",
    [FRAME_BLOCK] = "block",
    [FRAME_NETSTRING] = "netstring",
    [FRAME_LENGTH] = "length",
    [FRAME_CONTENT_LENGTH] = "content-length",
    [FRAME_FIXED] = "fixed",
    [FRAME_CLOSE] = "close",
    NULL,
};

const struct frame_word frame_words[] = {
    [FRAME_LINE] = { "line", "up to LF or CR LF; the reply ends as its request did" },
    [FRAME_DELIMITER] = { "delimiter:BYTES", "up to these bytes, written with C escapes: delimiter:\\0" },
    [FRAME_BLOCK] = { "block", "lines up to an empty line" },
    [FRAME_NETSTRING] = { "netstring", "LEN:bytes," },
    [FRAME_LENGTH] = { "length:TYPE[,offset=N][,adjust=N][,whole]",
                       "announced by an integer: u8, u16be, u16le, u24be, u32be, u32le, u64be, u64le, "
                       "varint" },
    [FRAME_CONTENT_LENGTH] = { "content-length", "header lines with Content-Length, an empty line, a body" },
    [FRAME_FIXED] = { "fixed:N", "N bytes" },
    [FRAME_CLOSE] = { "close", "everything until the sender ends its side" },
    { NULL, NULL },
};

static const char *const type_names[] = {
    [FRAME_U8] = "u8",         [FRAME_U16BE] = "u16be",
    [FRAME_U16LE] = "u16le",   [FRAME_U24BE] = "u24be",
    [FRAME_U32BE] = "u32be",   [FRAME_U32LE] = "u32le",
    [FRAME_U64BE] = "u64be",   [FRAME_U64LE] = "u64le",
    [FRAME_VARINT] = "varint", NULL,
};

enum option {
    OPTION_OFFSET,
    OPTION_ADJUST,
    OPTION_WHOLE,
};
static const char *const option_names[] = {
    [OPTION_OFFSET] = "offset",
    [OPTION_ADJUST] = "adjust",
    [OPTION_WHOLE] = "whole",
    NULL,
};

/* Makes the reason, in this thread's memory. Returns -EINVAL. */
static int __attribute__((format(printf, 2, 3))) complain(const char **ret_why, const char *format, ...)
{
    static _Thread_local char why[256];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof(why), format, args);
    va_end(args);
    *ret_why = why;
    return -EINVAL;
}

/* The place of TEXT among WORDS, or -1. */
static int find_word(const char *const *words, const char *text)
{
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], text) == 0)
            return i;
    }
    return -1;
}

static int parse_delimiter(const char *text, struct framing *f, const char **ret_why)
{
    char bytes[4 * FRAME_DELIMITER_MAX]; /* the longest escape of a byte has four characters */
    if (strlen(text) > sizeof(bytes))
        return complain(ret_why, "has more than %d bytes", FRAME_DELIMITER_MAX);
    int n = text_unescape(text, bytes);
    if (n < 0)
        return complain(ret_why, "has an escape that is unknown or unfinished");
    if (n == 0)
        return complain(ret_why, "needs its bytes, as in delimiter:\\0");
    if (n > FRAME_DELIMITER_MAX)
        return complain(ret_why, "has more than %d bytes", FRAME_DELIMITER_MAX);
    memcpy(f->delimiter, bytes, (size_t)n);
    f->delimiter_len = (uint8_t)n;
    return 0;
}

static int parse_fixed(const char *text, struct framing *f, const char **ret_why)
{
    int64_t n;
    int r = text_parse_int(text, 1, FRAME_FIXED_MAX, &n);
    if (r == -ERANGE)
        return complain(ret_why, "needs a number from 1 to %d", FRAME_FIXED_MAX);
    if (r < 0)
        return complain(ret_why, "needs a number of bytes, as in fixed:64");
    f->size = (uint32_t)n;
    return 0;
}

static int parse_number(enum option option, const char *value, int64_t lo, int64_t hi, int64_t *ret,
                        const char **ret_why)
{
    int r = value ? text_parse_int(value, lo, hi, ret) : -EINVAL;
    if (r == -ERANGE)
        return complain(ret_why, "needs %s from %lld to %lld", option_names[option], (long long)lo,
                        (long long)hi);
    if (r < 0)
        return complain(ret_why, "needs a number for %s, as in %s=4", option_names[option],
                        option_names[option]);
    return 0;
}

static int set_option(struct framing *f, enum option option, const char *value, const char **ret_why)
{
    int64_t n;
    switch (option) {
    case OPTION_OFFSET:
        if (parse_number(option, value, 0, FRAME_OFFSET_MAX, &n, ret_why) < 0)
            return -EINVAL;
        f->offset = (uint32_t)n;
        f->whole_frame = true;
        return 0;
    case OPTION_ADJUST:
        if (parse_number(option, value, INT32_MIN, INT32_MAX, &n, ret_why) < 0)
            return -EINVAL;
        f->adjust = (int32_t)n;
        return 0;
    case OPTION_WHOLE:
        if (value)
            return complain(ret_why, "has whole with a value; it takes none");
        f->counts_whole = true;
        return 0;
    }
    return -EINVAL;
}

/* One "name=value" or "name", which it takes apart; GIVEN has a bit for each that was there before. */
static int parse_option(char *text, struct framing *f, unsigned *given, const char **ret_why)
{
    char *value = strchr(text, '=');
    if (value)
        *value++ = '\0';
    int option = find_word(option_names, text);
    if (option < 0) {
        const char *meant = text_suggest(text, option_names);
        if (meant)
            return complain(ret_why, "has the unknown option \"%s\"; did you mean \"%s\"?", text, meant);
        return complain(ret_why, "has the unknown option \"%s\"; there are offset, adjust and whole", text);
    }
    if (*given & 1u << option)
        return complain(ret_why, "has %s twice", text);
    *given |= 1u << option;
    return set_option(f, (enum option)option, value, ret_why);
}

static int parse_type(const char *text, struct framing *f, const char **ret_why)
{
    int type = find_word(type_names, text);
    if (type < 0) {
        const char *meant = text_suggest(text, type_names);
        if (meant)
            return complain(ret_why, "has the unknown integer \"%s\"; did you mean \"%s\"?", text, meant);
        return complain(ret_why, "needs an integer: u8, u16be, u16le, u24be, u32be, u32le, u64be, u64le or "
                                 "varint");
    }
    f->type = (enum frame_int)type;
    return 0;
}

static int parse_length(const char *text, struct framing *f, const char **ret_why)
{
    char words[FRAME_TEXT_MAX], *rest = words, *word;
    unsigned given = 0;

    if (strlen(text) >= sizeof(words))
        return complain(ret_why, "is longer than any framing");
    strcpy(words, text);
    int r = parse_type(strsep(&rest, ","), f, ret_why);
    while (r == 0 && (word = strsep(&rest, ",")))
        r = parse_option(word, f, &given, ret_why);
    if (r == 0 && f->type == FRAME_VARINT && f->counts_whole)
        return complain(ret_why, "has whole with a varint, whose own size changes with the number");
    return r;
}

/* How a kind's parameter is read; NULL for a kind that has none. */
static int (*const parameters[])(const char *text, struct framing *f, const char **ret_why) = {
    [FRAME_DELIMITER] = parse_delimiter,
    [FRAME_LENGTH] = parse_length,
    [FRAME_FIXED] = parse_fixed,
    [FRAME_CLOSE] = NULL,
};

int frame_parse(const char *text, struct framing *ret, const char **ret_why)
{
    char name[32];
    const char *colon = strchrnul(text, ':');
    snprintf(name, sizeof(name), "%.*s", (int)(colon - text < 32 ? colon - text : 32), text);

    int kind = find_word(names, name);
    if (kind < 0) {
        const char *meant = text_suggest(name, names);
        if (meant)
            return complain(ret_why, "is no framing; did you mean \"%s\"?", meant);
        return complain(ret_why, "is no framing; there are line, delimiter, block, netstring, length, "
                                 "content-length, fixed and close");
    }
    struct framing f = { .kind = (enum frame_kind)kind };
    if (!parameters[kind] && *colon)
        return complain(ret_why, "has a parameter; %s takes none", name);
    if (parameters[kind] && parameters[kind](*colon ? colon + 1 : "", &f, ret_why) < 0)
        return -EINVAL;
    *ret = f;
    return 0;
}

static void print_length(char *p, const struct framing *f)
{
    p = stpcpy(p, type_names[f->type]);
    if (f->whole_frame)
        p += sprintf(p, ",offset=%u", (unsigned)f->offset);
    if (f->adjust != 0)
        p += sprintf(p, ",adjust=%d", (int)f->adjust);
    if (f->counts_whole)
        strcpy(p, ",whole");
}

char *frame_print(char buf[FRAME_TEXT_MAX], const struct framing *f)
{
    char *p = stpcpy(buf, names[f->kind]);
    if (parameters[f->kind])
        p = stpcpy(p, ":");
    if (f->kind == FRAME_DELIMITER)
        text_escape(p, FRAME_TEXT_MAX - (size_t)(p - buf), f->delimiter, f->delimiter_len);
    if (f->kind == FRAME_LENGTH)
        print_length(p, f);
    if (f->kind == FRAME_FIXED)
        sprintf(p, "%u", (unsigned)f->size);
    return buf;
}

bool frame_equal(const struct framing *a, const struct framing *b)
{
    char ta[FRAME_TEXT_MAX], tb[FRAME_TEXT_MAX];
    return strcmp(frame_print(ta, a), frame_print(tb, b)) == 0;
}
