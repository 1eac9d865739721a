/* Services and processes as tables; see top_tables.h. */
#include "client/top_tables.h"

#include "base/text.h"
#include "client/top_cell.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NAME_LEAST 8
#define NAME_MOST  63
#define LINE_BYTES 512

typedef char *cell_fn(char buf[TOP_CELL_MAX], const struct top_view *view, const struct top_service_rates *s);

static char *print_number(char *buf, uint64_t n)
{
    if (n < 100000)
        snprintf(buf, TOP_CELL_MAX, "%" PRIu64, n);
    else
        top_cell_rate(buf, (double)n);
    return buf;
}

static char *cell_state(char *buf, const struct top_view *view, const struct top_service_rates *s)
{
    (void)view;
    snprintf(buf, TOP_CELL_MAX, "%.9s", s->now->state);
    return buf;
}

static char *cell_requests(char *buf, const struct top_view *view, const struct top_service_rates *s)
{
    (void)view;
    return top_cell_rate(buf, s->rates.requests);
}

static char *cell_p50(char *buf, const struct top_view *view, const struct top_service_rates *s)
{
    return top_cell_latency(buf, s->rates.p50_ms, (double)view->now->bounds_us[0] / 1000);
}

static char *cell_p99(char *buf, const struct top_view *view, const struct top_service_rates *s)
{
    return top_cell_latency(buf, s->rates.p99_ms, (double)view->now->bounds_us[0] / 1000);
}

static char *cell_errors(char *buf, const struct top_view *view, const struct top_service_rates *s)
{
    (void)view;
    return top_cell_rate(buf, s->rates.failed + s->rates.refused);
}

static char *cell_waiting(char *buf, const struct top_view *view, const struct top_service_rates *s)
{
    (void)view;
    return print_number(buf, s->now->queue);
}

static char *cell_helpers(char *buf, const struct top_view *view, const struct top_service_rates *s)
{
    (void)view;
    if (s->now->helpers_wanted == 0)
        return strcpy(buf, "-");
    snprintf(buf, TOP_CELL_MAX, "%" PRIu64 "/%" PRIu64, s->now->helpers_busy, s->now->helpers);
    return buf;
}

static char *cell_connections(char *buf, const struct top_view *view, const struct top_service_rates *s)
{
    (void)view;
    return print_number(buf, s->now->connections);
}

static char *cell_new(char *buf, const struct top_view *view, const struct top_service_rates *s)
{
    (void)view;
    return top_cell_rate(buf, s->rates.accepted);
}

/* As they stand, behind the name; those of the highest rank go first where there is no room. */
static const struct column {
    const char *head;
    unsigned width, rank;
    cell_fn *print;
} columns[] = {
    { "STATE", 8, 9, cell_state },     { "REQ/S", 6, 1, cell_requests },   { "P50", 7, 7, cell_p50 },
    { "P99", 7, 2, cell_p99 },         { "ERR/S", 6, 6, cell_errors },     { "WAIT", 5, 4, cell_waiting },
    { "HELPERS", 7, 5, cell_helpers }, { "CONN", 6, 3, cell_connections }, { "NEW/S", 6, 8, cell_new },
};
#define N_COLUMNS (sizeof(columns) / sizeof(columns[0]))

/* The highest rank that fits beside a name; *RET_NAME: the columns that are left for it. */
static unsigned choose_rank(unsigned width, unsigned *ret_name)
{
    for (unsigned rank = N_COLUMNS; rank > 0; rank--) {
        unsigned taken = 0;

        for (size_t i = 0; i < N_COLUMNS; i++)
            taken += columns[i].rank <= rank ? columns[i].width + 1 : 0;
        unsigned least = rank > 6 ? 2 * NAME_LEAST : NAME_LEAST;
        if (taken + least <= width) {
            *ret_name = width - taken;
            return rank;
        }
    }
    *ret_name = width;
    return 0;
}

static unsigned longest_name(const struct top_view *view)
{
    size_t most = strlen("SERVICE");

    for (size_t i = 0; i < view->now->n_services; i++)
        if (strlen(view->now->services[i].name) > most)
            most = strlen(view->now->services[i].name);
    return most < NAME_MOST ? (unsigned)most : NAME_MOST;
}

/* S NULL: the head. */
static void draw_service(struct top_page *page, const struct top_service_rates *s, unsigned rank,
                         unsigned name)
{
    char text[LINE_BYTES], safe[4 * NAME_MOST + 1], *cut = NULL, cell[TOP_CELL_MAX];
    const char *word = s ? s->now->name : "SERVICE";
    enum top_style style = s ? TOP_PLAIN : TOP_HEAD;
    size_t len;
    FILE *out = open_memstream(&cut, &len);

    if (!out)
        return;
    text_make_safe(safe, sizeof(safe), word, strlen(word));
    unsigned taken = top_cell_cut(safe, name, out);
    fclose(out);
    int n = snprintf(text, sizeof(text), "%s%*s", cut, (int)(name - taken), "");
    free(cut);
    for (size_t i = 0; i < N_COLUMNS && (size_t)n < sizeof(text); i++) {
        bool is_word = columns[i].print == cell_state;
        if (columns[i].rank <= rank)
            n += snprintf(text + n, sizeof(text) - (size_t)n, is_word ? " %-*s" : " %*s",
                          (int)columns[i].width,
                          s ? columns[i].print(cell, page->screen->view, s) : columns[i].head);
    }
    if (s && strcmp(s->now->state, "degraded") == 0)
        style = page->screen->colour ? TOP_BAD : TOP_BOLD;
    else if (s && strcmp(s->now->state, "drained") == 0)
        style = TOP_DIM;
    top_page_line(page, style, text);
}

static void say_more(struct top_page *page, size_t more)
{
    char text[48];

    snprintf(text, sizeof(text), "%zu more", more);
    top_page_line(page, TOP_DIM, text);
}

unsigned top_services_lines(const struct top_view *view)
{
    return (unsigned)view->now->n_services + 1;
}

void top_services_draw(struct top_page *page, unsigned lines)
{
    const struct top_view *view = page->screen->view;
    size_t n = view->now->n_services, shown = n;
    unsigned name, rank = choose_rank(page->screen->width, &name);

    if (lines == 0)
        return;
    if (name > longest_name(view) + 1)
        name = longest_name(view) + 1;
    draw_service(page, NULL, rank, name);
    if (n + 1 > lines)
        shown = lines > 2 ? lines - 2 : 0;
    for (size_t i = 0; i < shown; i++)
        draw_service(page, &view->services[i], rank, name);
    if (shown < n && lines > 1)
        say_more(page, n - shown);
}

#define CELL_WIDTH 38
#define CELL_GAP   2

/* Side by side; what is no terminal gets one a line. */
static unsigned across(const struct top_screen *s)
{
    unsigned width = s->width;

    return width >= CELL_WIDTH && s->height > 0 ? (width + CELL_GAP) / (CELL_WIDTH + CELL_GAP) : 1;
}

unsigned top_processes_lines(const struct top_screen *screen)
{
    unsigned n = (unsigned)screen->view->now->n_processes, per_line = across(screen);

    return n > 0 ? 1 + (n + per_line - 1) / per_line : 0;
}

/* P NULL: the head. Returns the bytes. */
static int print_process(char *text, size_t size, const struct top_process_share *p)
{
    char name[32], pid[24] = "none", connections[TOP_CELL_MAX] = "-", cpu[TOP_CELL_MAX];

    if (!p)
        return snprintf(text, size, "%-12s%9s%7s%10s", "PROCESS", "PID", "CPU", "CONN");
    bool is_worker = strcmp(p->now->kind, "worker") == 0;
    if (is_worker)
        snprintf(name, sizeof(name), "worker %" PRIu64, p->now->number);
    else
        snprintf(name, sizeof(name), "%s", p->now->kind);
    if (p->now->pid > 0)
        snprintf(pid, sizeof(pid), "%" PRIu64, p->now->pid);
    if (is_worker)
        print_number(connections, p->now->connections);
    snprintf(cpu, sizeof(cpu), "%.0f %%", p->cpu * 100);
    return snprintf(text, size, "%-12.12s%9s%7s%10s", name, pid, cpu, connections);
}

/* From the FIRST on, as many as stand side by side; NULL: heads. */
static void draw_processes(struct top_page *page, const struct top_process_share *first, size_t n)
{
    char text[LINE_BYTES];
    int at = 0;

    for (size_t i = 0; i < n && (size_t)at + 2 * CELL_WIDTH < sizeof(text); i++) {
        at += snprintf(text + at, sizeof(text) - (size_t)at, "%s", i ? "  " : "");
        at += print_process(text + at, sizeof(text) - (size_t)at, first ? &first[i] : NULL);
    }
    top_page_line(page, first ? TOP_PLAIN : TOP_HEAD, text);
}

void top_processes_draw(struct top_page *page, unsigned lines)
{
    const struct top_view *view = page->screen->view;
    size_t n = view->now->n_processes, per_line = across(page->screen), shown = n;

    if (lines < top_processes_lines(page->screen))
        shown = lines > 2 ? (lines - 2) * per_line : 0;
    draw_processes(page, NULL, per_line < n ? per_line : n);
    for (size_t i = 0; i < shown; i += per_line)
        draw_processes(page, &view->processes[i], n - i < per_line ? n - i : per_line);
    if (shown < n)
        say_more(page, n - shown);
}
