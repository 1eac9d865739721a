/*
 * The growable byte buffer of connections and helpers; used by every process that talks to somebody.
 *
 * Capacity grows by half of itself, so that many small appends cost linear work, but exactly to what is
 * needed where the half would pass the account's limit. Unread bytes move to the front when that frees a
 * quarter of what it copies; else the buffer grows as well. It never refuses because of the limit; that is
 * the caller's business.
 */
#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUF_LEAST 256

static void move_to_front(struct buf *b)
{
    if (b->head > 0)
        memmove(b->base, b->base + b->head, b->len);
    b->head = 0;
}

/* The capacity to grow to, so that NEED bytes fit. */
static size_t grown_cap(const struct buf *b, const struct account *a, size_t need)
{
    size_t cap = (size_t)b->cap + b->cap / 2;

    if (cap < BUF_LEAST)
        cap = BUF_LEAST;
    if (cap > BUF_MAX)
        cap = BUF_MAX;
    if (cap < need || account_exceeded(a, cap - b->cap))
        cap = need;
    return cap;
}

/* Grows, so that NEED bytes fit; nothing where the capacity suffices. 0 or -ENOMEM. */
static int grow(struct buf *b, struct account *a, size_t need)
{
    size_t cap = grown_cap(b, a, need);
    char *base;

    if (cap <= b->cap)
        return 0;
    base = realloc(b->base, cap);
    if (!base)
        return -ENOMEM;
    a->used += cap - b->cap;
    b->base = base;
    b->cap = (uint32_t)cap;
    return 0;
}

int buf_reserve(struct buf *b, struct account *a, size_t n)
{
    size_t unused = b->cap - b->len;

    if (n > BUF_MAX - b->len)
        return -EMSGSIZE;
    if (n <= buf_room(b))
        return 0;
    if (n > unused || unused < b->len / 4) {
        int r = grow(b, a, b->len + n);

        if (r < 0 && n > unused)
            return r;
    }
    move_to_front(b);
    return 0;
}

void buf_added(struct buf *b, size_t n)
{
    assert(n <= buf_room(b));
    b->len += (uint32_t)n;
}

int buf_append(struct buf *b, struct account *a, const void *data, size_t len)
{
    int r;

    if (len == 0)
        return 0;
    r = buf_reserve(b, a, len);
    if (r < 0)
        return r;
    memcpy(buf_data(b) + b->len, data, len);
    buf_added(b, len);
    return 0;
}

void buf_consume(struct buf *b, struct account *a, size_t n)
{
    assert(n <= b->len);
    b->head += (uint32_t)n;
    b->len -= (uint32_t)n;
    if (b->len == 0)
        buf_done(b, a);
}

void buf_done(struct buf *b, struct account *a)
{
    assert(a->used >= b->cap);
    a->used -= b->cap;
    free(b->base);
    *b = (struct buf){ 0 };
}
