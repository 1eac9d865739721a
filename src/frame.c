/*
 * Framings: a function per kind that finds the next message; how one is dressed is in frame_dress.c. Pure;
 * runs wherever bytes are cut into messages: in workers, which feed it what strangers send, and in sockctl.
 *
 * Split independence rests on one rule: everything is judged from left to right, and a verdict depends on the
 * bytes up to it alone, never on how many more came with them. The textual form is in frame_word.c.
 */
#include "frame.h"

#include "base/hot.h"
#include "frame_part.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

/* No announced number above this is believed, whatever the caller's MAX: sums of lengths cannot overflow. */
#define ANNOUNCED_MAX (SIZE_MAX / 16)

#define VARINT_MAX 10

static void mark_seen(struct frame_scan *scan, size_t n)
{
    assert(n <= UINT32_MAX);
    scan->seen = (uint32_t)n;
}

static enum frame_result need(struct frame_message *ret, size_t frame_len)
{
    ret->frame_len = frame_len;
    return FRAME_MORE;
}

/* The message is the LEN bytes at START, followed by TAIL bytes of framing; its length is known. */
static enum frame_result announced(const struct frame_input *in, size_t start, uint64_t len, size_t tail,
                                   struct frame_message *ret)
{
    if (len > in->max || len > ANNOUNCED_MAX)
        return FRAME_TOO_LONG;
    ret->start = start;
    ret->len = len;
    ret->end = FRAME_END_LF;
    ret->frame_len = start + len + tail;
    return in->len < ret->frame_len ? FRAME_MORE : FRAME_MESSAGE;
}

/* The message is the first LEN bytes, and was found by its end. */
static inline enum frame_result found(const struct frame_input *in, size_t len, size_t frame_len,
                                      enum frame_end end, struct frame_message *ret)
{
    if (len > in->max)
        return FRAME_TOO_LONG;
    ret->start = 0;
    ret->len = len;
    ret->end = end;
    ret->frame_len = frame_len;
    return FRAME_MESSAGE;
}

/* No LF yet. A CR at the very end may be half of a line end: it is not counted yet and is looked at again. */
static APART enum frame_result unfinished_line(const struct frame_input *in, struct frame_message *ret)
{
    bool half = !in->end && in->len > in->scan->seen && in->data[in->len - 1] == '\r';
    size_t len = in->len - half;

    if (in->end)
        return found(in, len, len, FRAME_END_NONE, ret);
    if (len > in->max)
        return FRAME_TOO_LONG;
    mark_seen(in->scan, len);
    return need(ret, 0);
}

static HOT APART enum frame_result next_line(const struct frame_input *in, struct frame_message *ret)
{
    const char *from = in->data + in->scan->seen;
    const char *lf = memchr(from, '\n', in->len - in->scan->seen);
    if (!lf)
        return unfinished_line(in, ret);
    size_t len = (size_t)(lf - in->data);
    if (lf > from && lf[-1] == '\r')
        return found(in, len - 1, len + 1, FRAME_END_CRLF, ret);
    return found(in, len, len + 1, FRAME_END_LF, ret);
}

/* How many of the last bytes could be the beginning of a delimiter that is not complete yet. */
static size_t half_delimiter(const struct framing *f, const char *data, size_t len)
{
    for (size_t n = f->delimiter_len - 1u; n > 0; n--) {
        if (n <= len && memcmp(data + len - n, f->delimiter, n) == 0)
            return n;
    }
    return 0;
}

static enum frame_result next_delimiter(const struct frame_input *in, struct frame_message *ret)
{
    const struct framing *f = in->framing;
    const char *at =
        memmem(in->data + in->scan->seen, in->len - in->scan->seen, f->delimiter, f->delimiter_len);
    if (at) {
        size_t len = (size_t)(at - in->data);
        return found(in, len, len + f->delimiter_len, FRAME_END_LF, ret);
    }
    if (in->end)
        return found(in, in->len, in->len, FRAME_END_LF, ret);
    if (in->len > in->max && in->len - half_delimiter(f, in->data, in->len) > in->max)
        return FRAME_TOO_LONG;
    size_t again = f->delimiter_len - 1u;
    mark_seen(in->scan, in->len < again ? 0 : in->len - again);
    return need(ret, 0);
}

size_t frame_empty_line(const char *data, size_t len, size_t from, size_t *ret_at)
{
    bool starts = from == 0;
    size_t at = from, end = 0;

    while (at < len && end == 0) {
        if (starts && data[at] == '\n') {
            end = 1;
        } else if (starts && data[at] == '\r' && at + 1 == len) {
            break;
        } else if (starts && data[at] == '\r' && data[at + 1] == '\n') {
            end = 2;
        } else {
            const char *lf = memchr(data + at, '\n', len - at);
            at = lf ? (size_t)(lf - data) + 1 : len;
            starts = true;
        }
    }
    *ret_at = at;
    return end;
}

static enum frame_result next_block(const struct frame_input *in, struct frame_message *ret)
{
    size_t at;
    size_t end = frame_empty_line(in->data, in->len, in->scan->seen, &at);
    if (end > 0)
        return found(in, at, at + end, end == 1 ? FRAME_END_LF : FRAME_END_CRLF, ret);
    if (at > in->max)
        return FRAME_TOO_LONG;
    /* The LF before a line's start is looked at again, since it tells that one is there. */
    bool after_lf = at > in->scan->seen && in->data[at - 1] == '\n';
    mark_seen(in->scan, at - after_lf);
    return need(ret, 0);
}

static enum frame_result next_netstring(const struct frame_input *in, struct frame_message *ret)
{
    size_t n = 0, i = 0;
    for (; i < in->len && in->data[i] >= '0' && in->data[i] <= '9'; i++) {
        if (i > 0 && n == 0)
            return FRAME_MALFORMED;
        n = n * 10 + (size_t)(in->data[i] - '0');
        if (n > in->max || n > ANNOUNCED_MAX)
            return FRAME_TOO_LONG;
    }
    if (i == in->len)
        return need(ret, 0);
    if (i == 0 || in->data[i] != ':')
        return FRAME_MALFORMED;
    enum frame_result r = announced(in, i + 1, n, 1, ret);
    return r == FRAME_MESSAGE && in->data[ret->frame_len - 1] != ',' ? FRAME_MALFORMED : r;
}

const struct frame_integer frame_integers[] = {
    [FRAME_U8] = { 1, false },    [FRAME_U16BE] = { 2, false },
    [FRAME_U16LE] = { 2, true },  [FRAME_U24BE] = { 3, false },
    [FRAME_U32BE] = { 4, false }, [FRAME_U32LE] = { 4, true },
    [FRAME_U64BE] = { 8, false }, [FRAME_U64LE] = { 8, true },
    [FRAME_VARINT] = { 0, true }, /* as many as it needs */
};

/* These two return the bytes that the integer takes, 0 when it is unfinished, -EBADMSG when it can be none.
 */
static int read_varint(const unsigned char *p, size_t len, uint64_t *ret)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < len; i++) {
        if (i == VARINT_MAX - 1 && p[i] > 1)
            return -EBADMSG;
        n |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (p[i] < 0x80) {
            *ret = n;
            return (int)i + 1;
        }
    }
    return 0;
}

static int read_integer(enum frame_int type, const char *data, size_t len, uint64_t *ret)
{
    const unsigned char *p = (const unsigned char *)data;
    size_t size = frame_integers[type].size;
    if (type == FRAME_VARINT)
        return read_varint(p, len, ret);
    if (len < size)
        return 0;
    uint64_t n = 0;
    for (size_t i = 0; i < size; i++)
        n = n << 8 | p[frame_integers[type].little ? size - 1 - i : i];
    *ret = n;
    return (int)size;
}

static enum frame_result next_length(const struct frame_input *in, struct frame_message *ret)
{
    const struct framing *f = in->framing;
    if (in->len <= f->offset)
        return need(ret, 0);
    uint64_t n;
    int size = read_integer(f->type, in->data + f->offset, in->len - f->offset, &n);
    if (size <= 0)
        return size == 0 ? need(ret, 0) : FRAME_MALFORMED;
    size_t header = f->offset + (size_t)size;
    if (__builtin_add_overflow(n, (int64_t)f->adjust, &n))
        return f->adjust < 0 ? FRAME_MALFORMED : FRAME_TOO_LONG;
    if (f->counts_whole && __builtin_sub_overflow(n, header, &n))
        return FRAME_MALFORMED;
    if (!f->whole_frame)
        return announced(in, header, n, 0, ret);
    if (__builtin_add_overflow(n, header, &n))
        return FRAME_TOO_LONG;
    return announced(in, 0, n, 0, ret);
}

/* Digits with blanks around them. Where no number fits any more it stops counting, not reading. */
static enum frame_result read_content_length(const char *p, const char *end, size_t max, uint32_t *ret)
{
    uint64_t n = 0;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (p < end && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    if (p == end)
        return FRAME_MALFORMED;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9')
            return FRAME_MALFORMED;
        if (n <= UINT32_MAX)
            n = n * 10 + (uint64_t)(*p - '0');
    }
    if (n > max || n > UINT32_MAX)
        return FRAME_TOO_LONG;
    *ret = (uint32_t)n;
    return FRAME_MESSAGE;
}

/* One line of the header without its end: "Name: value". FRAME_MESSAGE: it is fine. */
static enum frame_result read_field(struct frame_scan *scan, const char *line, size_t len, size_t max)
{
    static const char name[] = "Content-Length";
    const char *colon = memchr(line, ':', len);

    if (!colon || colon == line)
        return FRAME_MALFORMED;
    for (const char *p = line; p < colon; p++) {
        if (*p <= ' ' || *p > '~')
            return FRAME_MALFORMED;
    }
    if (colon - line != sizeof(name) - 1 || strncasecmp(line, name, sizeof(name) - 1) != 0)
        return FRAME_MESSAGE;
    if (scan->has_body)
        return FRAME_MALFORMED;
    scan->has_body = true;
    return read_content_length(colon + 1, line + len, max, &scan->body);
}

/* Takes one line of the header. FRAME_MESSAGE: there was one, and it is fine. */
static enum frame_result take_header_line(struct frame_scan *scan, const struct frame_input *in)
{
    const char *lf = memchr(in->data + scan->searched, '\n', in->len - scan->searched);
    size_t taken = lf ? (size_t)(lf - in->data) + 1 : in->len;
    if (taken > FRAME_HEADER_MAX || (!lf && taken == FRAME_HEADER_MAX))
        return FRAME_MALFORMED;
    scan->searched = (uint32_t)taken;
    if (!lf)
        return FRAME_MORE;
    const char *line = in->data + scan->seen;
    size_t len = (size_t)(lf - line);
    if (len > 0 && lf[-1] == '\r')
        len--;
    scan->seen = (uint32_t)taken;
    if (len > 0)
        return read_field(scan, line, len, in->max);
    scan->in_body = true;
    return scan->has_body ? FRAME_MESSAGE : FRAME_MALFORMED;
}

static enum frame_result next_content_length(const struct frame_input *in, struct frame_message *ret)
{
    while (!in->scan->in_body) {
        enum frame_result r = take_header_line(in->scan, in);
        if (r == FRAME_MORE)
            return need(ret, 0);
        if (r != FRAME_MESSAGE)
            return r;
    }
    return announced(in, in->scan->seen, in->scan->body, 0, ret);
}

static enum frame_result next_fixed(const struct frame_input *in, struct frame_message *ret)
{
    return announced(in, 0, in->framing->size, 0, ret);
}

static enum frame_result next_close(const struct frame_input *in, struct frame_message *ret)
{
    if (in->end)
        return found(in, in->len, in->len, FRAME_END_LF, ret);
    return in->len > in->max ? FRAME_TOO_LONG : need(ret, 0);
}

/* FRAME_LINE, the common one, is called without its row. */
static enum frame_result (*const kinds[])(const struct frame_input *in, struct frame_message *ret) = {
    [FRAME_DELIMITER] = next_delimiter,
    [FRAME_BLOCK] = next_block,
    [FRAME_NETSTRING] = next_netstring,
    [FRAME_LENGTH] = next_length,
    [FRAME_CONTENT_LENGTH] = next_content_length,
    [FRAME_FIXED] = next_fixed,
    [FRAME_CLOSE] = next_close,
};

HOT enum frame_result frame_next(const struct frame_input *in, struct frame_message *ret)
{
    assert(in->scan->seen <= in->len);
    if (in->len == 0)
        return need(ret, 0);
    if (in->framing->kind == FRAME_LINE)
        return next_line(in, ret);
    enum frame_result r = kinds[in->framing->kind](in, ret);
    return r == FRAME_MORE && in->end ? FRAME_MALFORMED : r;
}
