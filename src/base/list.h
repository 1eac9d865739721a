/*
 * Doubly linked lists whose links lie in the objects. A list is its head's link; the link of an
 * object that is on no list is an empty list itself (list_init), so that leaving twice is harmless.
 */
#ifndef SOCKD_BASE_LIST_H
#define SOCKD_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

static inline void list_append(struct list *l, struct list *link)
{
    link->prev = l->prev;
    link->next = l;
    l->prev->next = link;
    l->prev = link;
}

/* A link that was initialised with list_init may be removed whether it is on a list or not. */
static inline void list_remove(struct list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}

/* Moves all that is on FROM to TO, which is empty. */
static inline void list_move(struct list *from, struct list *to)
{
    if (list_empty(from))
        return;
    *to = *from;
    to->prev->next = to;
    to->next->prev = to;
    list_init(from);
}

/* The body may remove the entry it is at, but no other. */
#define list_for_each(it, l) \
    for (struct list *it = (l)->next, *it##_next; it##_next = it->next, it != (l); it = it##_next)

#endif
