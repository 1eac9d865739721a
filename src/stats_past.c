/* What another layout is, and the copying; see stats_past.h. */
#include "stats_past.h"

#include "base/fd.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define WORDS_MAX  512
#define NUMBER_MAX ((int64_t)1 << 40)

enum kind {
    OF_PAGE,
    COUNTER,
    GAUGE,
};

/* What is copied. Durations are known by the bound of their bucket: each of another program's goes to the
 * first bucket here that has room for it. */
static const struct number {
    const char *name;
    size_t at; /* in struct stats_service; in struct stats_page when OF_PAGE */
    enum kind kind;
    int64_t bound;
} numbers[] = {
#define X(n, help) { #n, offsetof(struct stats_service, n), COUNTER, 0 },
    STATS_COUNTERS(X)
#undef X
#define X(n, help) { #n, offsetof(struct stats_service, n), GAUGE, 0 },
        STATS_GAUGES(X)
#undef X
            { "duration_us", offsetof(struct stats_service, duration_us), COUNTER, 0 },
    { "page.connections", offsetof(struct stats_page, connections), OF_PAGE, 0 },
    { "page.memory", offsetof(struct stats_page, memory), OF_PAGE, 0 },
    { "page.jobs", offsetof(struct stats_page, jobs), OF_PAGE, 0 },
    { "page.listening", offsetof(struct stats_page, listening), OF_PAGE, 0 },
};
#define NUMBERS (sizeof(numbers) / sizeof(numbers[0]))

#define BUCKET "duration."
static const int64_t bounds[STATS_BUCKETS_TIMED] = {
#define X(us, text) us,
    STATS_DURATIONS(X)
#undef X
        INT64_MAX,
};

/* To one number of ours from one of another's; those to the same stand together, and are added up. */
struct move {
    size_t from, to;
    enum kind kind;
};

struct word {
    const char *name;
    int64_t value;
};

struct stats_past {
    int fd;       /* owns */
    char *layout; /* owns */
    char *memory; /* owns the mapping */
    size_t memory_size;
    struct stats_shape shape;
    struct move *moves; /* owns */
    size_t n_moves;
};

static const struct shape_row {
    const char *name;
    size_t at;
} shape_rows[] = {
    { "pages", offsetof(struct stats_shape, pages) },   { "first", offsetof(struct stats_shape, first) },
    { "stride", offsetof(struct stats_shape, stride) }, { "in_use", offsetof(struct stats_shape, in_use) },
    { "total", offsetof(struct stats_shape, total) },   { "service", offsetof(struct stats_shape, service) },
    { "slots", offsetof(struct stats_shape, slots) },   { "size", offsetof(struct stats_shape, size) },
};
#define SHAPE_ROWS (sizeof(shape_rows) / sizeof(shape_rows[0]))

char *stats_layout_print(const struct stats_shape *shape)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    for (size_t i = 0; i < SHAPE_ROWS; i++)
        fprintf(out, "%s %zu ", shape_rows[i].name,
                *(const size_t *)((const char *)shape + shape_rows[i].at));
    for (size_t i = 0; i < STATS_BUCKETS_TIMED; i++)
        fprintf(out, BUCKET "%lld %zu ", (long long)bounds[i],
                offsetof(struct stats_service, duration) + i * sizeof(stats_number));
    for (size_t i = 0; i < NUMBERS; i++)
        fprintf(out, "%s %zu%s", numbers[i].name, numbers[i].at, i + 1 < NUMBERS ? " " : "");
    return text_close(out, &text);
}

/* Pairs of a name and a number, in TEXT, which is taken apart. How many, or -EINVAL. */
static int read_words(char *text, struct word words[WORDS_MAX])
{
    int n = 0;

    for (char *name; (name = strsep(&text, " ")); n++) {
        const char *value = strsep(&text, " ");
        if (n == WORDS_MAX || !value || text_parse_int(value, 0, NUMBER_MAX, &words[n].value) < 0)
            return -EINVAL;
        words[n].name = name;
    }
    return n;
}

static int read_shape(const struct word *words, int n, struct stats_shape *ret)
{
    *ret = (struct stats_shape){ .pages = 0 };
    for (size_t i = 0; i < SHAPE_ROWS; i++) {
        int found = 0;
        for (int k = 0; k < n; k++)
            if (strcmp(words[k].name, shape_rows[i].name) == 0 && ++found)
                *(size_t *)(void *)((char *)ret + shape_rows[i].at) = (size_t)words[k].value;
        if (found != 1)
            return -EINVAL;
    }
    return 0;
}

/* True when N things of SIZE bytes from AT on lie below END, and numbers among them as numbers must. */
static bool fits(size_t at, size_t n, size_t size, size_t end)
{
    return at % sizeof(stats_number) == 0 && size % sizeof(stats_number) == 0 && size > 0 && at <= end &&
           n <= (end - at) / size;
}

static bool is_sound(const struct stats_shape *s, size_t memory_size)
{
    return fits(s->in_use, s->pages, sizeof(stats_number), s->first) &&
           fits(s->total, s->slots, s->size, s->first) && fits(s->service, s->slots, s->size, s->stride) &&
           fits(s->first, s->pages, s->stride, memory_size);
}

/* Whether a number that another program calls NAME is counted in bucket I here. */
static bool is_in_bucket(const char *name, size_t i)
{
    int64_t bound;

    return strncmp(name, BUCKET, strlen(BUCKET)) == 0 &&
           text_parse_int(name + strlen(BUCKET), 0, INT64_MAX, &bound) == 0 && bound <= bounds[i] &&
           (i == 0 || bound > bounds[i - 1]);
}

static int add_move(struct stats_past *past, const struct word *word, size_t to, enum kind kind)
{
    size_t end = kind == OF_PAGE ? past->shape.stride : past->shape.size;
    struct move *grown = reallocarray(past->moves, past->n_moves + 1, sizeof(*grown));

    if (!grown)
        return -ENOMEM;
    past->moves = grown;
    if (!fits((size_t)word->value, 1, sizeof(stats_number), end))
        return -EINVAL;
    grown[past->n_moves++] = (struct move){ .from = (size_t)word->value, .to = to, .kind = kind };
    return 0;
}

static int plan(struct stats_past *past, const struct word *words, int n)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < NUMBERS; i++)
        for (int k = 0; r == 0 && k < n; k++)
            if (strcmp(words[k].name, numbers[i].name) == 0)
                r = add_move(past, &words[k], numbers[i].at, numbers[i].kind);
    for (size_t i = 0; r == 0 && i < STATS_BUCKETS_TIMED; i++)
        for (int k = 0; r == 0 && k < n; k++)
            if (is_in_bucket(words[k].name, i))
                r = add_move(past, &words[k],
                             offsetof(struct stats_service, duration) + i * sizeof(stats_number), COUNTER);
    return r;
}

static int read_layout(struct stats_past *past, const char *layout)
{
    struct word words[WORDS_MAX];
    char *text = strdup(layout);
    int n = text ? read_words(text, words) : -ENOMEM;
    int r = n < 0 ? n : read_shape(words, n, &past->shape);

    if (r == 0)
        r = is_sound(&past->shape, past->memory_size) ? plan(past, words, n) : -EINVAL;
    free(text);
    return r;
}

static int map(struct stats_past *past, int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size <= 0)
        return -EINVAL;
    void *memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    past->memory = memory;
    past->memory_size = (size_t)st.st_size;
    return 0;
}

int stats_past_open(int fd, const char *layout, struct stats_past **ret)
{
    struct stats_past *past = calloc(1, sizeof(*past));

    if (!past)
        return -ENOMEM;
    past->fd = -1;
    int r = map(past, fd);
    if (r == 0)
        r = read_layout(past, layout);
    if (r == 0 && !(past->layout = strdup(layout)))
        r = -ENOMEM;
    if (r < 0) {
        stats_past_close(past);
        return r;
    }
    past->fd = fd;
    *ret = past;
    return 0;
}

void stats_past_close(struct stats_past *past)
{
    if (!past)
        return;
    if (past->memory)
        munmap(past->memory, past->memory_size);
    fd_close(&past->fd);
    free(past->layout);
    free(past->moves);
    free(past);
}

int stats_past_fd(const struct stats_past *past)
{
    return past->fd;
}

const char *stats_past_layout(const struct stats_past *past)
{
    return past->layout;
}

static stats_number *number_at(const struct stats_past *past, size_t at)
{
    return (stats_number *)(void *)(past->memory + at);
}

static stats_number *use_of(const struct stats_past *past, int page)
{
    return number_at(past, past->shape.in_use + (size_t)page * sizeof(stats_number));
}

bool stats_past_has(const struct stats_past *past, int page)
{
    return (size_t)page < past->shape.pages && page < STATS_PAGES && stats_get(use_of(past, page));
}

void stats_past_forget(struct stats_past *past, int page)
{
    if (stats_past_has(past, page))
        stats_set(use_of(past, page), 0);
}

bool stats_past_is_empty(const struct stats_past *past)
{
    for (int page = 0; page < STATS_PAGES; page++)
        if (stats_past_has(past, page))
            return false;
    return true;
}

/* Each number is stored once, in whole: others read it meanwhile. */
static void copy(const struct stats_past *past, size_t from, void *to, unsigned kinds)
{
    for (size_t i = 0, k; i < past->n_moves; i = k) {
        const struct move *move = &past->moves[i];
        uint64_t sum = 0;

        for (k = i; k < past->n_moves && past->moves[k].to == move->to && past->moves[k].kind == move->kind;
             k++)
            sum += stats_get(number_at(past, from + past->moves[k].from));
        if (kinds & 1u << move->kind)
            stats_set((stats_number *)(void *)((char *)to + move->to), sum);
    }
}

static int slots(const struct stats_past *past)
{
    return past->shape.slots < CONF_SERVICES_MAX ? (int)past->shape.slots : CONF_SERVICES_MAX;
}

void stats_past_copy(const struct stats_past *past, int page, struct stats_page *to)
{
    size_t from = past->shape.first + (size_t)page * past->shape.stride;

    copy(past, from, to, 1u << OF_PAGE);
    for (int slot = 0; slot < slots(past); slot++)
        copy(past, from + past->shape.service + (size_t)slot * past->shape.size, &to->service[slot],
             1u << COUNTER | 1u << GAUGE);
}

void stats_past_copy_total(const struct stats_past *past, int slot, struct stats_service *to)
{
    if (slot < slots(past))
        copy(past, past->shape.total + (size_t)slot * past->shape.size, to, 1u << COUNTER);
}
