/*
 * Any bytes, in any framing, cut anywhere. Holds that
 * - the messages and the verdict are those of the input fed whole;
 * - no byte before scan->seen and none behind the input is read (they are poisoned, exactly to the byte), and
 *   what a search may read again is a few bytes: the work is linear;
 * - a message that came can be dressed, and what is dressed is read back to the same message.
 *
 * The input: a byte for the framing, one for the largest message, one for how it is cut, the stream.
 */
#include "frame.h"

#include <assert.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const words[] = {
    "line",
    "delimiter:\\0",
    "delimiter:\\r\\n.\\r\\n",
    "delimiter:aab",
    "block",
    "netstring",
    "length:u8",
    "length:u16be",
    "length:u16le",
    "length:u24be",
    "length:u32be",
    "length:u32le",
    "length:u64be",
    "length:u64le",
    "length:varint",
    "length:u16be,offset=4",
    "length:u8,offset=0,whole",
    "length:u8,adjust=-2",
    "length:u16le,adjust=1,whole",
    "length:u64be,adjust=2147483647",
    "length:varint,offset=1,adjust=3",
    "content-length",
    "fixed:7",
    "close",
};

/* The longest stream looked at; each look makes a copy of it. */
#define STREAM_MAX 4096
/* What the shadow memory can tell apart only from one end. */
#define GRANULE 8

/*
 * As frame_next, on a copy of which no other byte can be read than those from scan->seen on: the copy is laid
 * so that they begin at a granule.
 */
static enum frame_result next(const struct framing *f, struct frame_scan *scan, const char *data, size_t len,
                              size_t max, bool end, struct frame_message *ret)
{
    static char arena[STREAM_MAX + 256] __attribute__((aligned(GRANULE)));
    char *copy = arena + (GRANULE - scan->seen % GRANULE) % GRANULE;

    assert(len + GRANULE <= sizeof(arena));
    memcpy(copy, data, len);
    ASAN_POISON_MEMORY_REGION(arena, (size_t)(copy - arena) + scan->seen);
    ASAN_POISON_MEMORY_REGION(copy + len, sizeof(arena) - len - (size_t)(copy - arena));
    const struct frame_input in = { f, scan, copy, len, max, end };
    enum frame_result r = frame_next(&in, ret);
    ASAN_UNPOISON_MEMORY_REGION(arena, sizeof(arena));
    return r;
}

/* An unfinished message: what will be read again of it is bounded. */
static void check_scan(const struct framing *f, const struct frame_scan *scan, size_t len)
{
    assert(scan->seen <= len);
    if (f->kind == FRAME_LINE || f->kind == FRAME_DELIMITER || f->kind == FRAME_BLOCK)
        assert(len - scan->seen < FRAME_DELIMITER_MAX);
    if (f->kind == FRAME_CONTENT_LENGTH)
        assert(scan->in_body || (scan->searched == len && len < FRAME_HEADER_MAX));
}

/* Dresses a message; what comes of it must be one frame with the same message. False when the framing cannot
 * carry it. */
static bool check_dress(const struct framing *f, enum frame_end end, const char *data, size_t len)
{
    struct frame_dress d;
    char *wire = malloc(len + FRAME_DRESS_MAX);
    assert(wire);
    ssize_t put = frame_put(f, end, data, len, wire);
    assert((frame_dress(f, end, data, len, &d) < 0) == (put < 0));
    if (put < 0) {
        free(wire);
        return false;
    }
    size_t wire_len = d.head_len + len + d.tail_len;
    assert((size_t)put == wire_len && memcmp(wire, d.head, d.head_len) == 0 &&
           memcmp(wire + d.head_len, data, len) == 0 &&
           memcmp(wire + d.head_len + len, d.tail, d.tail_len) == 0);

    struct frame_scan scan = { 0 };
    struct frame_message m;
    enum frame_result r = next(f, &scan, wire, wire_len, SIZE_MAX, true, &m);
    if (wire_len == 0) { /* nothing at all, which only the end of input could tell */
        assert(r == FRAME_MORE && len == 0);
    } else {
        /* A line that ends in CR takes it for the end's; a block gets its last line end. */
        size_t lost = f->kind == FRAME_LINE && end == FRAME_END_LF && len > 0 && data[len - 1] == '\r';
        size_t more =
            f->kind == FRAME_BLOCK && len > 0 && data[len - 1] != '\n' ? 1 + (end == FRAME_END_CRLF) : 0;
        assert(r == FRAME_MESSAGE && m.frame_len == wire_len && m.len == len - lost + more);
        assert(memcmp(wire + m.start, data, len - lost) == 0);
        if (f->kind == FRAME_LINE)
            assert(m.end == (lost ? FRAME_END_CRLF : end));
        if (f->kind == FRAME_BLOCK)
            assert(m.end == (end == FRAME_END_CRLF ? FRAME_END_CRLF : FRAME_END_LF));
    }
    free(wire);
    return true;
}

/* The next of the pseudo-random lengths that SEED stands for; with seed 0 all are 1. */
static size_t next_cut(uint32_t *seed)
{
    if (*seed == 0)
        return 1;
    *seed = *seed * 1664525 + 1013904223;
    if (*seed == 0)
        *seed = 1;
    return (*seed >> 20 & 1 ? *seed >> 24 : *seed >> 29) + 1;
}

/* One side of the comparison: a reader of the stream, at its message after TAKEN bytes. */
struct reader {
    const struct framing *f;
    const char *stream;
    size_t len, max;
    size_t taken, arrived;
    uint32_t seed;
    struct frame_scan scan;
};

/* Looks at what has arrived of the message. */
static enum frame_result look(struct reader *reader, bool end, struct frame_message *ret)
{
    size_t len = reader->arrived - reader->taken;
    enum frame_result r =
        next(reader->f, &reader->scan, reader->stream + reader->taken, len, reader->max, end, ret);
    if (r == FRAME_MORE && end)
        assert(len == 0);
    if (r == FRAME_MORE && !end) {
        check_scan(reader->f, &reader->scan, len);
        r = next(reader->f, &reader->scan, reader->stream + reader->taken, len, reader->max, end, ret);
        assert(r == FRAME_MORE); /* looking twice changes nothing */
        assert(ret->frame_len == 0 || ret->frame_len > len);
    }
    return r;
}

/* The next message, or the verdict; FRAME_MORE at the end of input, which comes with the last bytes or after
 * them. */
static enum frame_result read_message(struct reader *reader, struct frame_message *ret)
{
    for (;;) {
        bool all = reader->arrived == reader->len;
        bool end = all && reader->seed & 1;
        enum frame_result r = look(reader, end, ret);
        if (r != FRAME_MORE || end)
            return r;
        if (all)
            return look(reader, true, ret);
        size_t n = next_cut(&reader->seed), rest = reader->len - reader->arrived;
        reader->arrived += n < rest ? n : rest;
    }
}

static void take(struct reader *reader, const struct frame_message *m)
{
    assert(m->frame_len > 0 && m->frame_len <= reader->arrived - reader->taken);
    assert(m->start <= m->frame_len && m->len <= m->frame_len - m->start && m->len <= reader->max);
    reader->taken += m->frame_len;
    reader->scan = (struct frame_scan){ 0 };
}

static void compare(const struct framing *f, const char *stream, size_t len, size_t max, uint8_t seed)
{
    struct reader whole = { f, stream, len, max, 0, len, 1, { 0 } };
    struct reader split = { f, stream, len, max, 0, 0, seed, { 0 } };

    for (;;) {
        struct frame_message a, b;
        enum frame_result r = read_message(&whole, &a), s = read_message(&split, &b);
        assert(r == s);
        if (r != FRAME_MESSAGE)
            return;
        assert(a.frame_len == b.frame_len && a.start == b.start && a.len == b.len && a.end == b.end);
        bool dressed = check_dress(f, a.end, stream + whole.taken + a.start, a.len);
        /* Only what the end of input cut off in the middle of a delimiter cannot be sent again. */
        assert(dressed || (f->kind == FRAME_DELIMITER && whole.taken + a.frame_len == len));
        take(&whole, &a);
        take(&split, &b);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct framing f;
    const char *why;

    if (size < 3 || size - 3 > STREAM_MAX)
        return 0;
    int r = frame_parse(words[data[0] % (sizeof(words) / sizeof(words[0]))], &f, &why);
    assert(r == 0);
    size_t max = data[1] < 0x80 ? data[1] : data[1] < 0xff ? (size_t)(data[1] - 0x7f) * 64 : SIZE_MAX;
    const char *stream = (const char *)data + 3;
    compare(&f, stream, size - 3, max, data[2]);
    check_dress(&f, FRAME_END_LF, stream, size - 3);
    check_dress(&f, FRAME_END_CRLF, stream, size - 3);
    check_dress(&f, FRAME_END_NONE, stream, size - 3);
    return 0;
}
