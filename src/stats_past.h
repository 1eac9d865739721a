/*
 * Pages of counters that a program before this one made, and laid out in another way: it was an older or a
 * newer version. Its workers go on writing there until they leave. The master copies what they count to pages
 * of its own, by name, so that no total is lost and none goes back. What only one of the two programs counts
 * is left out; sources and rates begin anew.
 *
 * The layout is a text of names and numbers; a program writes down its own, and reads that of any other. No
 * number that is read is believed before it was held against the size of the memory.
 */
#ifndef SOCKD_STATS_PAST_H
#define SOCKD_STATS_PAST_H

#include "stats.h"

#include <stddef.h>

/* Where the memory has what, in bytes but for the counts `pages` and `slots`. */
struct stats_shape {
    size_t pages, first, stride;        /* pages; where the first lies; from one to the next */
    size_t in_use;                      /* a number for each page */
    size_t total, service, slots, size; /* of services: of the dead; in a page; how many; of each */
};

struct stats_past;

/* The caller frees it; NULL without memory. */
char *stats_layout_print(const struct stats_shape *shape);

/* Owns FD when it succeeds. 0; -EINVAL when LAYOUT is none, or another memory's; -errno. */
int stats_past_open(int fd, const char *layout, struct stats_past **ret);
void stats_past_close(struct stats_past *past);

/* To hand them on: both borrowed. */
int stats_past_fd(const struct stats_past *past);
const char *stats_past_layout(const struct stats_past *past);

bool stats_past_has(const struct stats_past *past, int page);
/* Its process is gone, or its numbers have another source. */
void stats_past_forget(struct stats_past *past, int page);
bool stats_past_is_empty(const struct stats_past *past);

void stats_past_copy(const struct stats_past *past, int page, struct stats_page *to);
void stats_past_copy_total(const struct stats_past *past, int slot, struct stats_service *to);

#endif
