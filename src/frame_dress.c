/*
 * Framings: a function per kind that dresses a message to be sent, so that frame_next() finds the same one
 * again. Pure; runs where frame.c does.
 */
#include "frame.h"

#include "base/hot.h"
#include "frame_part.h"

#include <errno.h>
#include <string.h>

struct body {
    const struct framing *f;
    enum frame_end end;
    const char *data;
    size_t len;
};

static void put_line_end(struct frame_dress *d, enum frame_end end)
{
    if (end == FRAME_END_CRLF)
        d->tail[d->tail_len++] = '\r';
    d->tail[d->tail_len++] = '\n';
}

static int dress_line(const struct body *b, struct frame_dress *ret)
{
    if (memchr(b->data, '\n', b->len))
        return -EBADMSG;
    if (b->end != FRAME_END_NONE)
        put_line_end(ret, b->end);
    return 0;
}

/* The delimiter must come first where it is put: not inside, nor across the end of the body. */
static int dress_delimiter(const struct body *b, struct frame_dress *ret)
{
    char joint[2 * FRAME_DELIMITER_MAX];
    size_t last = b->f->delimiter_len - 1u;
    if (last > b->len)
        last = b->len;
    memcpy(joint, b->data + b->len - last, last);
    memcpy(joint + last, b->f->delimiter, b->f->delimiter_len);
    if (memmem(b->data, b->len, b->f->delimiter, b->f->delimiter_len) ||
        memmem(joint, last + b->f->delimiter_len, b->f->delimiter, b->f->delimiter_len) != joint + last)
        return -EBADMSG;
    memcpy(ret->tail, b->f->delimiter, b->f->delimiter_len);
    ret->tail_len = b->f->delimiter_len;
    return 0;
}

static int dress_block(const struct body *b, struct frame_dress *ret)
{
    size_t at;
    if (frame_empty_line(b->data, b->len, 0, &at) > 0)
        return -EBADMSG;
    /* A last line that is a lone CR would become an empty one with LF. */
    if (at < b->len && b->end != FRAME_END_CRLF)
        return -EBADMSG;
    if (b->len > 0 && b->data[b->len - 1] != '\n')
        put_line_end(ret, b->end);
    put_line_end(ret, b->end);
    return 0;
}

static void put_number(struct frame_dress *d, size_t n)
{
    char digits[20];
    size_t i = sizeof(digits);
    do {
        digits[--i] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    memcpy(d->head + d->head_len, digits + i, sizeof(digits) - i);
    d->head_len = (uint8_t)(d->head_len + sizeof(digits) - i);
}

static void put_text(struct frame_dress *d, const char *text)
{
    size_t len = strlen(text);
    memcpy(d->head + d->head_len, text, len);
    d->head_len = (uint8_t)(d->head_len + len);
}

static int dress_netstring(const struct body *b, struct frame_dress *ret)
{
    put_number(ret, b->len);
    put_text(ret, ":");
    ret->tail[ret->tail_len++] = ',';
    return 0;
}

static int dress_content_length(const struct body *b, struct frame_dress *ret)
{
    put_text(ret, "Content-Length: ");
    put_number(ret, b->len);
    put_text(ret, "\r\n\r\n");
    return 0;
}

static int put_integer(struct frame_dress *d, enum frame_int type, uint64_t n)
{
    if (type == FRAME_VARINT) {
        for (; n >= 0x80; n >>= 7)
            d->head[d->head_len++] = (char)(n | 0x80);
        d->head[d->head_len++] = (char)n;
        return 0;
    }
    unsigned size = frame_integers[type].size;
    if (size < sizeof(n) && n >> (8 * size) != 0)
        return -EBADMSG;
    for (unsigned i = 0; i < size; i++)
        d->head[i] = (char)(n >> 8 * (frame_integers[type].little ? i : size - 1 - i));
    d->head_len = (uint8_t)size;
    return 0;
}

static int dress_length(const struct body *b, struct frame_dress *ret)
{
    if (b->f->whole_frame) {
        struct frame_scan scan = { 0 };
        const struct frame_input in = { b->f, &scan, b->data, b->len, SIZE_MAX, true };
        struct frame_message m;
        enum frame_result r = frame_next(&in, &m);
        return r == FRAME_MESSAGE && m.frame_len == b->len ? 0 : -EBADMSG;
    }
    uint64_t n = b->len;
    if (b->f->counts_whole)
        n += frame_integers[b->f->type].size;
    if (__builtin_sub_overflow(n, (int64_t)b->f->adjust, &n))
        return -EBADMSG;
    return put_integer(ret, b->f->type, n);
}

static int dress_fixed(const struct body *b, struct frame_dress *ret)
{
    (void)ret;
    return b->len == b->f->size ? 0 : -EBADMSG;
}

static int dress_close(const struct body *b, struct frame_dress *ret)
{
    (void)b;
    (void)ret;
    return 0;
}

static int (*const kinds[])(const struct body *b, struct frame_dress *ret) = {
    [FRAME_LINE] = dress_line,     [FRAME_DELIMITER] = dress_delimiter,
    [FRAME_BLOCK] = dress_block,   [FRAME_NETSTRING] = dress_netstring,
    [FRAME_LENGTH] = dress_length, [FRAME_CONTENT_LENGTH] = dress_content_length,
    [FRAME_FIXED] = dress_fixed,   [FRAME_CLOSE] = dress_close,
};

int frame_dress(const struct framing *f, enum frame_end end, const char *data, size_t len,
                struct frame_dress *ret)
{
    const struct body b = { f, end, len > 0 ? data : "", len };

    ret->head_len = ret->tail_len = 0;
    return kinds[f->kind](&b, ret);
}

static APART ssize_t put_dressed(const struct framing *f, enum frame_end end, const char *data, size_t len,
                                 char *to)
{
    struct frame_dress dress;
    int r = frame_dress(f, end, data, len, &dress);

    if (r < 0)
        return r;
    to = mempcpy(to, dress.head, dress.head_len);
    if (len > 0)
        to = mempcpy(to, data, len);
    memcpy(to, dress.tail, dress.tail_len);
    return (ssize_t)(dress.head_len + len + dress.tail_len);
}

/* A line, the common one, as dress_line() has it, but without the structure. */
HOT ssize_t frame_put(const struct framing *f, enum frame_end end, const char *data, size_t len, char *to)
{
    if (f->kind != FRAME_LINE || len == 0)
        return put_dressed(f, end, data, len, to);
    if (memchr(data, '\n', len))
        return -EBADMSG;
    memcpy(to, data, len);
    char *tail = to + len;
    if (end == FRAME_END_CRLF)
        *tail++ = '\r';
    if (end != FRAME_END_NONE)
        *tail++ = '\n';
    return tail - to;
}
