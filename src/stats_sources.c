/* Who has how many connections, who sent how many datagrams, and how many came in a second; see stats.h. */
#include "stats.h"

#include <stddef.h>

/*
 * A place holds a tag (32 bits), a moment (16) and a count (16). A source is found by its bucket and tag; the
 * moment is 0 for connections, which count until they end, and the second for datagrams, which count until it
 * is over.
 */
struct key {
    uint32_t bucket;
    uint32_t tag;
    uint16_t moment;
};

#define COUNT_MAX UINT16_MAX

static struct key key_of(int slot, uint64_t source, uint16_t moment)
{
    /* The source is a keyed hash already; the slot is folded in by an odd factor (splitmix64's). */
    uint64_t h = (source ^ (uint64_t)(slot + 1) * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u;

    h ^= h >> 29;
    return (struct key){ .bucket = h & (STATS_BUCKETS - 1), .tag = (uint32_t)(h >> 32), .moment = moment };
}

static uint64_t pack(struct key k, unsigned count)
{
    return (uint64_t)k.tag << 32 | (uint64_t)k.moment << 16 | count;
}

static unsigned count_in(uint64_t place, struct key k)
{
    return place >> 16 == pack(k, 0) >> 16 ? (unsigned)(place & COUNT_MAX) : 0;
}

/* A place is free when it counts nothing, or counts a moment that is over. */
static bool is_free(uint64_t place, struct key k)
{
    return (place & COUNT_MAX) == 0 || (uint16_t)(place >> 16) != k.moment;
}

static stats_number *find_place(struct stats_sources *table, struct key k)
{
    stats_number *free_place = NULL;

    for (int i = 0; i < STATS_BUCKET_SIZE; i++) {
        stats_number *place = &table->place[k.bucket][i];
        uint64_t value = stats_get(place);

        if (count_in(value, k))
            return place;
        if (!free_place && is_free(value, k))
            free_place = place;
    }
    return free_place;
}

/* Over the table at OFFSET of every living page. */
static unsigned sum_sources(const struct stats *stats, size_t offset, struct key k)
{
    unsigned sum = 0;

    for (int i = 0, end = stats_pages_end(stats); i < end; i++) {
        const struct stats_page *p = stats_page(stats, i);
        if (!p)
            continue;

        const struct stats_sources *table =
            (const struct stats_sources *)(const void *)((const char *)p + offset);
        for (int n = 0; n < STATS_BUCKET_SIZE; n++)
            sum += count_in(stats_get(&table->place[k.bucket][n]), k);
    }
    return sum;
}

static unsigned add_source(const struct stats *stats, struct stats_page *mine, size_t offset, struct key k)
{
    stats_number *place = find_place((struct stats_sources *)(void *)((char *)mine + offset), k);

    if (!place)
        return 0;
    unsigned count = count_in(stats_get(place), k);
    if (count < COUNT_MAX)
        stats_set(place, pack(k, count + 1));
    return sum_sources(stats, offset, k);
}

unsigned stats_source_add(const struct stats *stats, struct stats_page *mine, int slot, uint64_t source)
{
    return add_source(stats, mine, offsetof(struct stats_page, connected), key_of(slot, source, 0));
}

void stats_source_sub(struct stats_page *mine, int slot, uint64_t source)
{
    struct key k = key_of(slot, source, 0);
    stats_number *place = find_place(&mine->connected, k);
    unsigned count = place ? count_in(stats_get(place), k) : 0;

    if (count > 0)
        stats_set(place, pack(k, count - 1));
}

unsigned stats_sender_add(const struct stats *stats, struct stats_page *mine, int slot, uint64_t source,
                          uint64_t now_ms)
{
    return add_source(stats, mine, offsetof(struct stats_page, sending),
                      key_of(slot, source, (uint16_t)(now_ms / 1000)));
}

void stats_rate_add(struct stats_page *mine, int slot, uint64_t now_ms)
{
    struct stats_service *s = &mine->service[slot];
    uint64_t second = now_ms / 1000, known = stats_get(&s->rate_second);

    if (known != second) {
        stats_set(&s->rate_before, known + 1 == second ? stats_get(&s->rate_now) : 0);
        stats_set(&s->rate_now, 0);
        stats_set(&s->rate_second, second);
    }
    stats_add(&s->rate_now, 1);
}

uint64_t stats_rate(const struct stats *stats, int slot, uint64_t now_ms)
{
    uint64_t second = now_ms / 1000, now = 0, before = 0;

    for (int i = 0, end = stats_pages_end(stats); i < end; i++) {
        const struct stats_page *p = stats_page(stats, i);
        if (!p)
            continue;

        const struct stats_service *s = &p->service[slot];
        uint64_t known = stats_get(&s->rate_second);
        if (known == second) {
            now += stats_get(&s->rate_now);
            before += stats_get(&s->rate_before);
        } else if (known + 1 == second) {
            before += stats_get(&s->rate_now);
        }
    }
    return now + before * (1000 - now_ms % 1000) / 1000;
}
