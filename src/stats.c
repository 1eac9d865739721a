/* Shared counters; see stats.h. */
#include "stats.h"

#include "base/fd.h"
#include "stats_past.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The master's own page. */
struct board {
    stats_number pages_end;
    stats_number in_use[STATS_PAGES];
    struct stats_service total[CONF_SERVICES_MAX];
};

/* Pages of memory begin at multiples of this, on every machine: ppc64el has the largest. */
#define ALIGN ((size_t)65536)

static size_t align(size_t n)
{
    return (n + ALIGN - 1) & ~(ALIGN - 1);
}

/* Each has workers of a generation that leaves; of more, those that left first are counted as they were. */
#define PASTS_MAX 8

struct stats {
    int fd;              /* for mapping pages to write; -1 in a worker */
    const char *view;    /* all, read-only */
    struct board *board; /* master: for writing; NULL in a worker */
    struct slot {
        char *name; /* owns; NULL: free */
        unsigned refs;
    } slots[CONF_SERVICES_MAX];
    struct stats_past *past[PASTS_MAX]; /* owns; the oldest first; none in a worker */
    size_t n_past;
};

const struct stats_row stats_rows[] = {
#define X(n, h) { .name = #n, .help = h, .offset = offsetof(struct stats_service, n), .gauge = false },
    STATS_COUNTERS(X)
#undef X
#define X(n, h) { .name = #n, .help = h, .offset = offsetof(struct stats_service, n), .gauge = true },
        STATS_GAUGES(X)
#undef X
            { 0 },
};

const char *const stats_duration_bounds[STATS_BUCKETS_TIMED] = {
#define X(us, text) text,
    STATS_DURATIONS(X)
#undef X
        "+Inf",
};

void stats_time(struct stats_service *mine, uint64_t us)
{
    static const uint64_t bounds[] = {
#define X(us, text) us,
        STATS_DURATIONS(X)
#undef X
    };
    size_t i = 0;

    while (i < STATS_BUCKETS_TIMED - 1 && us > bounds[i])
        i++;
    stats_add(&mine->duration[i], 1);
    stats_add(&mine->duration_us, us);
}

static size_t page_offset(int page)
{
    return align(sizeof(struct board)) + (size_t)page * align(sizeof(struct stats_page));
}

static const struct board *board(const struct stats *stats)
{
    return (const struct board *)(const void *)stats->view;
}

static const stats_number *member(const struct stats_service *service, size_t offset)
{
    return (const stats_number *)(const void *)((const char *)service + offset);
}

/*
 * The read-only view comes from a descriptor opened read-only: mprotect(2) cannot make it writable, so a
 * worker that runs wild can reach its own page alone.
 */
static int map_all(struct stats *stats)
{
    char path[40];
    size_t size = page_offset(STATS_PAGES);

    snprintf(path, sizeof path, "/proc/self/fd/%d", stats->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    void *view = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    int r = view == MAP_FAILED ? -errno : 0;
    fd_close(&fd);
    if (r < 0)
        return r;
    stats->view = view;

    void *own = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, stats->fd, 0);
    if (own == MAP_FAILED)
        return -errno;
    stats->board = own;
    return 0;
}

static int make_pages(struct stats *stats)
{
    stats->fd = memfd_create("sockd-stats", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (stats->fd < 0 || ftruncate(stats->fd, (off_t)page_offset(STATS_PAGES)) < 0 ||
        fcntl(stats->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    return map_all(stats);
}

int stats_create(struct stats **ret)
{
    struct stats *stats = calloc(1, sizeof *stats);

    if (!stats)
        return -ENOMEM;
    int r = make_pages(stats);
    if (r < 0) {
        stats_free(stats);
        return r;
    }
    *ret = stats;
    return 0;
}

int stats_fd(const struct stats *stats)
{
    return stats->fd;
}

char *stats_layout(void)
{
    return stats_layout_print(&(struct stats_shape){
        .pages = STATS_PAGES,
        .first = page_offset(0),
        .stride = page_offset(1) - page_offset(0),
        .in_use = offsetof(struct board, in_use),
        .total = offsetof(struct board, total),
        .service = offsetof(struct stats_page, service),
        .slots = CONF_SERVICES_MAX,
        .size = sizeof(struct stats_service),
    });
}

static int adopt_same(int fd, struct stats **ret)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if ((size_t)st.st_size != page_offset(STATS_PAGES))
        return -EINVAL;
    struct stats *stats = calloc(1, sizeof *stats);
    if (!stats)
        return -ENOMEM;
    stats->fd = fd;
    int r = map_all(stats);
    if (r < 0) {
        stats_free(stats);
        return r;
    }
    *ret = stats;
    return 0;
}

static void use_page(struct stats *stats, int page)
{
    if ((uint64_t)page >= stats_get(&stats->board->pages_end))
        stats_set(&stats->board->pages_end, (uint64_t)page + 1);
    stats_set(&stats->board->in_use[page], 1);
}

static void copy_past(const struct stats *stats, const struct stats_past *past, int page)
{
    struct stats_page *own = mmap(NULL, sizeof(struct stats_page), PROT_READ | PROT_WRITE, MAP_SHARED,
                                  stats->fd, (off_t)page_offset(page));

    if (own == MAP_FAILED)
        return; /* next time */
    stats_past_copy(past, page, own);
    stats_disown(own);
}

static void close_past(struct stats *stats, size_t i)
{
    stats_past_close(stats->past[i]);
    stats->n_past--;
    memmove(&stats->past[i], &stats->past[i + 1], (stats->n_past - i) * sizeof(stats->past[0]));
}

int stats_adopt_past(struct stats *stats, int fd, const char *layout)
{
    struct stats_past *past;
    int r = stats_past_open(fd, layout, &past);

    if (r < 0)
        return r;
    for (int page = 0; page < STATS_PAGES; page++) {
        if (!stats_past_has(past, page))
            continue;
        /* Another had it from this one. */
        for (size_t i = 0; i < stats->n_past; i++)
            stats_past_forget(stats->past[i], page);
        use_page(stats, page);
        copy_past(stats, past, page);
    }
    if (stats->n_past == PASTS_MAX)
        close_past(stats, 0);
    stats->past[stats->n_past++] = past;
    return 0;
}

/* Others' pages, whose numbers come along in pages of ours. */
static int adopt_other(int fd, const char *layout, struct stats **ret)
{
    struct stats *stats;
    int r = stats_create(&stats);

    if (r < 0)
        return r;
    r = stats_adopt_past(stats, fd, layout);
    if (r < 0) {
        stats_free(stats);
        return r == -EINVAL ? -ENOTSUP : r;
    }
    for (int slot = 0; slot < CONF_SERVICES_MAX; slot++)
        stats_past_copy_total(stats->past[0], slot, &stats->board->total[slot]);
    *ret = stats;
    return 0;
}

int stats_adopt(int fd, const char *layout, struct stats **ret)
{
    char *mine = stats_layout();

    if (!mine)
        return -ENOMEM;
    bool same = strcmp(layout, mine) == 0;
    free(mine);
    return same ? adopt_same(fd, ret) : adopt_other(fd, layout, ret);
}

bool stats_refresh(struct stats *stats)
{
    for (size_t i = stats->n_past; i-- > 0;) {
        for (int page = 0; page < STATS_PAGES; page++)
            if (stats_past_has(stats->past[i], page))
                copy_past(stats, stats->past[i], page);
        if (stats_past_is_empty(stats->past[i]))
            close_past(stats, i);
    }
    return stats->n_past > 0;
}

size_t stats_pasts(const struct stats *stats)
{
    return stats->n_past;
}

int stats_past_of(const struct stats *stats, size_t i, const char **ret_layout)
{
    *ret_layout = stats_past_layout(stats->past[i]);
    return stats_past_fd(stats->past[i]);
}

/* Its process is gone, and has counted for the last time. */
static void end_past(struct stats *stats, int page)
{
    for (size_t i = stats->n_past; i-- > 0;) {
        if (!stats_past_has(stats->past[i], page))
            continue;
        copy_past(stats, stats->past[i], page);
        stats_past_forget(stats->past[i], page);
        if (stats_past_is_empty(stats->past[i]))
            close_past(stats, i);
    }
}

int stats_adopt_slot(struct stats *stats, int slot, const char *name)
{
    if (slot < 0 || slot >= CONF_SERVICES_MAX || stats->slots[slot].name)
        return -EINVAL;
    stats->slots[slot].name = strdup(name);
    return stats->slots[slot].name ? 0 : -ENOMEM;
}

const char *stats_slot_name(const struct stats *stats, int slot)
{
    return stats->slots[slot].name;
}

void stats_free(struct stats *stats)
{
    if (!stats)
        return;
    if (stats->view)
        munmap((void *)(uintptr_t)stats->view, page_offset(STATS_PAGES));
    if (stats->board)
        munmap(stats->board, sizeof(struct board));
    fd_close(&stats->fd);
    while (stats->n_past > 0)
        close_past(stats, 0);
    for (size_t i = 0; i < CONF_SERVICES_MAX; i++)
        free(stats->slots[i].name);
    free(stats);
}

int stats_take_page(struct stats *stats)
{
    for (int page = 0; page < STATS_PAGES; page++) {
        if (stats_get(&stats->board->in_use[page]))
            continue;
        use_page(stats, page);
        return page;
    }
    return -ENOSPC;
}

static void fold_durations(struct stats_service *total, const struct stats_service *from)
{
    for (size_t i = 0; i < STATS_BUCKETS_TIMED; i++)
        stats_add(&total->duration[i], stats_get(&from->duration[i]));
    stats_add(&total->duration_us, stats_get(&from->duration_us));
}

void stats_fold_page(struct stats *stats, int page)
{
    const struct stats_page *p = stats_page(stats, page);

    assert(p);
    end_past(stats, page);
    for (int slot = 0; slot < CONF_SERVICES_MAX; slot++) {
        if (!stats->slots[slot].name)
            continue;
        for (const struct stats_row *row = stats_rows; row->name; row++)
            if (!row->gauge)
                stats_add((stats_number *)(uintptr_t)member(&stats->board->total[slot], row->offset),
                          stats_get(member(&p->service[slot], row->offset)));
        fold_durations(&stats->board->total[slot], &p->service[slot]);
    }
    stats_set(&stats->board->in_use[page], 0);
    fallocate(stats->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)page_offset(page),
              (off_t)align(sizeof(struct stats_page)));
}

void stats_leave(struct stats *stats)
{
    munmap(stats->board, sizeof(struct board));
    stats->board = NULL;
    fd_close(&stats->fd);
    while (stats->n_past > 0)
        close_past(stats, 0);
}

struct stats_page *stats_own(struct stats *stats, int page, bool forked)
{
    void *own = mmap(NULL, sizeof(struct stats_page), PROT_READ | PROT_WRITE, MAP_SHARED, stats->fd,
                     (off_t)page_offset(page));

    if (forked)
        stats_leave(stats);
    return own == MAP_FAILED ? NULL : own;
}

void stats_disown(struct stats_page *own)
{
    if (own)
        munmap(own, sizeof *own);
}

int stats_take_slot(struct stats *stats, const char *service)
{
    int free_slot = -ENOSPC;

    for (int i = CONF_SERVICES_MAX - 1; i >= 0; i--) {
        if (!stats->slots[i].name) {
            free_slot = i;
        } else if (strcmp(stats->slots[i].name, service) == 0) {
            stats->slots[i].refs++;
            return i;
        }
    }
    if (free_slot < 0)
        return free_slot;
    stats->slots[free_slot] = (struct slot){ .name = strdup(service), .refs = 1 };
    if (!stats->slots[free_slot].name)
        return -ENOMEM;
    memset((void *)&stats->board->total[free_slot], 0, sizeof(struct stats_service));
    return free_slot;
}

void stats_give_slot(struct stats *stats, int slot)
{
    if (--stats->slots[slot].refs > 0)
        return;
    free(stats->slots[slot].name);
    stats->slots[slot].name = NULL;
}

int stats_pages_end(const struct stats *stats)
{
    return (int)stats_get(&board(stats)->pages_end);
}

const struct stats_page *stats_page(const struct stats *stats, int page)
{
    if (!stats_get(&board(stats)->in_use[page]))
        return NULL;
    return (const struct stats_page *)(const void *)(stats->view + page_offset(page));
}

uint64_t stats_sum_living(const struct stats *stats, int slot, size_t offset)
{
    uint64_t sum = 0;

    for (int i = 0, end = stats_pages_end(stats); i < end; i++) {
        const struct stats_page *p = stats_page(stats, i);

        if (p)
            sum += stats_get(member(&p->service[slot], offset));
    }
    return sum;
}

uint64_t stats_earliest(const struct stats *stats, int slot, size_t offset)
{
    uint64_t earliest = 0;

    for (int i = 0, end = stats_pages_end(stats); i < end; i++) {
        const struct stats_page *p = stats_page(stats, i);
        uint64_t n = p ? stats_get(member(&p->service[slot], offset)) : 0;

        if (n > 0 && (earliest == 0 || n < earliest))
            earliest = n;
    }
    return earliest;
}

uint64_t stats_sum(const struct stats *stats, int slot, size_t offset)
{
    return stats_sum_living(stats, slot, offset) + stats_get(member(&board(stats)->total[slot], offset));
}

void stats_add_total(struct stats *stats, int slot, size_t offset, uint64_t n)
{
    stats_add((stats_number *)(uintptr_t)member(&stats->board->total[slot], offset), n);
}
