/* Log-linear histograms; see histogram.h. After HdrHistogram, without its settings. */
#include "client/histogram.h"

/* The first two powers' worth of steps are the values themselves. */
static size_t place_of(uint64_t value)
{
    if (value >> HISTOGRAM_BITS)
        return HISTOGRAM_PLACES - 1;
    if (value < HISTOGRAM_STEPS)
        return (size_t)value;

    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - 7;
    return (size_t)shift * HISTOGRAM_STEPS + (size_t)(value >> shift);
}

/* The first value behind a place. */
static uint64_t place_end(size_t place)
{
    if (place < 2 * HISTOGRAM_STEPS)
        return place + 1;

    size_t shift = place / HISTOGRAM_STEPS - 1;
    return (uint64_t)(place - shift * HISTOGRAM_STEPS + 1) << shift;
}

void histogram_add(struct histogram *h, uint64_t value)
{
    if (h->count == 0 || value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
    h->count++;
    h->sum += value;
    h->place[place_of(value)]++;
}

void histogram_merge(struct histogram *h, const struct histogram *other)
{
    if (other->count == 0)
        return;
    if (h->count == 0 || other->min < h->min)
        h->min = other->min;
    if (other->max > h->max)
        h->max = other->max;
    h->count += other->count;
    h->sum += other->sum;
    for (size_t i = 0; i < HISTOGRAM_PLACES; i++)
        h->place[i] += other->place[i];
}

uint64_t histogram_quantile(const struct histogram *h, double fraction)
{
    uint64_t seen = 0, wanted = (uint64_t)(fraction * (double)h->count);
    size_t i = 0;

    if (h->count == 0)
        return 0;
    if ((double)wanted < fraction * (double)h->count || wanted == 0)
        wanted++;
    while (i < HISTOGRAM_PLACES - 1 && (seen += h->place[i]) < wanted)
        i++;

    uint64_t value = place_end(i) - 1;
    if (i == HISTOGRAM_PLACES - 1 || value > h->max)
        return h->max;
    return value < h->min ? h->min : value;
}

double histogram_mean(const struct histogram *h)
{
    return h->count ? (double)h->sum / (double)h->count : 0;
}

uint64_t histogram_count_between(const struct histogram *h, uint64_t from, uint64_t to)
{
    uint64_t n = 0;

    for (size_t i = place_of(from); i < HISTOGRAM_PLACES && place_end(i) <= to; i++)
        n += h->place[i];
    return n;
}
