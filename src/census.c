/* Asking all processes for their connections; see census.h. */
#include "census.h"

#include "base/fd.h"

#include <errno.h>
#include <stdlib.h>

#define ANSWER_WITHIN_MS 1000

void censuses_init(struct censuses *all)
{
    list_init(&all->running);
    all->last_number = 0;
}

static int compare_waits(const void *a, const void *b)
{
    const struct census_row *one = a, *other = b;

    if (one->is.since_ms != other->is.since_ms)
        return one->is.since_ms < other->is.since_ms ? -1 : 1;
    return one->is.number < other->is.number ? -1 : one->is.number > other->is.number;
}

static void on_deadline(struct loop_timer *timer)
{
    struct census *census = container_of(timer, struct census, deadline);

    list_remove(&census->link);
    if (census->n_rows > 0)
        qsort(census->rows, census->n_rows, sizeof(*census->rows), compare_waits);
    census->on_done(census);
}

static void end_soon(struct census *census)
{
    loop_timer_set(census->loop, &census->deadline, 0, on_deadline);
}

static void ask(struct census *census, const struct generation *g, struct process *process)
{
    struct census_asked *asked = &census->asked[census->n_asked++];

    *asked = (struct census_asked){ .generation = g->number,
                                    .process = process->number,
                                    .conf = conf_ref(g->conf) };
    census->n_waiting++;
    process_tell(process, CHANNEL_LIST, census->number);
}

static bool is_meant(const struct generation *g, const struct process *process,
                     const struct census_asked *only)
{
    if (!process_lives(process))
        return false;
    return !only || (only->generation == g->number && only->process == process->number);
}

static void ask_all(struct census *census, const struct generations *generations,
                    const struct census_asked *only)
{
    list_for_each (it, &generations->all) {
        const struct generation *g = container_of(it, struct generation, link);
        for (size_t i = 0; i < generation_seats(g); i++)
            if (is_meant(g, &g->seats[i].process, only))
                ask(census, g, &g->seats[i].process);
    }
}

static size_t count_seats(const struct generations *generations)
{
    size_t n = 0;

    list_for_each (it, &generations->all)
        n += generation_seats(container_of(it, struct generation, link));
    return n;
}

int census_start(struct censuses *all, const struct generations *generations, const struct census_asked *only,
                 void (*on_done)(struct census *census), void *owner, struct census **ret)
{
    struct census *census = malloc(sizeof(*census));
    struct census_asked *asked = calloc(count_seats(generations) + 1, sizeof(*asked));

    if (!census || !asked) {
        free(census);
        free(asked);
        return -ENOMEM;
    }
    *census = (struct census){ .loop = generations->loop,
                               .number = ++all->last_number,
                               .asked = asked,
                               .on_done = on_done,
                               .owner = owner };
    list_init(&census->link);
    list_append(&all->running, &census->link);
    loop_timer_set(census->loop, &census->deadline, loop_now(census->loop) + ANSWER_WITHIN_MS, on_deadline);
    ask_all(census, generations, only);
    if (census->n_waiting == 0)
        end_soon(census);
    *ret = census;
    return 0;
}

void census_free(struct census *census)
{
    if (!census)
        return;
    list_remove(&census->link);
    loop_timer_stop(census->loop, &census->deadline);
    for (size_t i = 0; i < census->n_asked; i++)
        conf_unref(census->asked[i].conf);
    free(census->asked);
    free(census->rows);
    free(census);
}

static struct census_asked *find_asked(const struct census *census, const struct generation *g,
                                       unsigned process)
{
    for (size_t i = 0; i < census->n_asked; i++)
        if (census->asked[i].generation == g->number && census->asked[i].process == process)
            return &census->asked[i];
    return NULL;
}

/* Takes the rows whose numbers mean something. */
static int take_rows(struct census *census, const struct census_asked *from, const struct listing_row *rows,
                     size_t n)
{
    struct census_row *more = realloc(census->rows, (census->n_rows + n + 1) * sizeof(*more));

    if (!more)
        return -ENOMEM;
    census->rows = more;
    for (size_t i = 0; i < n; i++)
        if (rows[i].service < from->conf->n_services && rows[i].wait < LISTING_WAITS)
            census->rows[census->n_rows++] = (struct census_row){
                .from = from, .service = &from->conf->services[rows[i].service], .is = rows[i]
            };
    return 0;
}

static int take_listing(struct census *census, const struct census_asked *from, int fd)
{
    struct listing_row *rows;
    uint32_t total;
    size_t n;

    if (fd < 0)
        return -EBADF;
    int r = listing_read(fd, CENSUS_ROWS_MAX - census->n_rows, &rows, &n, &total);
    if (r < 0)
        return r;
    census->total += total;
    r = take_rows(census, from, rows, n);
    free(rows);
    return r;
}

static struct census *find_running(const struct censuses *all, uint32_t question)
{
    list_for_each (it, &all->running) {
        struct census *census = container_of(it, struct census, link);
        if (census->number == question)
            return census;
    }
    return NULL;
}

void censuses_hear(struct censuses *all, const struct generation *g, unsigned process, uint32_t question,
                   int fd)
{
    struct census *census = find_running(all, question);
    struct census_asked *asked = census ? find_asked(census, g, process) : NULL;

    if (asked && !asked->answered && take_listing(census, asked, fd) == 0) {
        asked->answered = true;
        if (--census->n_waiting == 0)
            end_soon(census);
    }
    fd_close(&fd);
}
