/*
 * A growable run of bytes that is consumed at its front, its memory charged to an account.
 *
 * An empty buffer owns no memory. Every byte of capacity is counted in the account that the caller names, the
 * same one for all calls on one buffer; so the sum over a worker's buffers is known at any time.
 */
#ifndef SOCKD_BASE_BUF_H
#define SOCKD_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What all buffers of one owner may hold together, in bytes. */
struct account {
    size_t used;
    size_t limit;
};

/* Packed, so that it ends without four unused bytes: an idle connection, which has two, is meant to be small.
 */
struct buf {
    char *base;    /* owns; NULL while empty */
    uint32_t head; /* where the unread bytes begin */
    uint32_t len;  /* how many they are */
    uint32_t cap;
} __attribute__((packed, aligned(4)));

/* The largest buffer, in bytes: half of what the fields could count. */
#define BUF_MAX ((size_t)1 << 31)

/* The unread bytes; NULL for a buffer that owns no memory (as a number, since C knows no NULL + 0). */
static inline char *buf_data(const struct buf *b)
{
    return (char *)((uintptr_t)b->base + b->head);
}

/* The free room behind the unread bytes. */
static inline size_t buf_room(const struct buf *b)
{
    return b->cap - b->head - b->len;
}

/* True when N more bytes of capacity would pass the account's limit. */
static inline bool account_exceeded(const struct account *a, size_t n)
{
    return n > a->limit || a->used > a->limit - n;
}

/*
 * Makes room for at least N more bytes; may move the unread ones. The account's limit is the
 * caller's business (account_exceeded), since an owed reply may pass it. 0, -ENOMEM, or -EMSGSIZE over
 * BUF_MAX; the buffer is unchanged on failure.
 */
int buf_reserve(struct buf *b, struct account *a, size_t n);

/* Counts N bytes that were written into the room. */
void buf_added(struct buf *b, size_t n);

/* Copies LEN bytes behind the unread ones. As buf_reserve. */
int buf_append(struct buf *b, struct account *a, const void *data, size_t len);

/* Takes N bytes away at the front; gives the memory back when none is left. */
void buf_consume(struct buf *b, struct account *a, size_t n);

/* Gives the memory back. */
void buf_done(struct buf *b, struct account *a);

#endif
