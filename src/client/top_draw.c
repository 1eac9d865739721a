/*
 * The picture of top; see top_draw.h. From the top: the verdict, the daemon, a grid of figures, the services,
 * the processes, the keys. What the height does not allow goes in this order: blank lines, processes, keys,
 * figures.
 */
#include "client/top_draw.h"

#include "base/text.h"
#include "client/top_cell.h"
#include "client/top_tables.h"

#include <inttypes.h>
#include <string.h>

#define LINE_MAX_BYTES 1024

static void print_line(struct top_page *page, enum top_style style, const char *text)
{
    static const char *const on[] = {
        [TOP_PLAIN] = "",
        [TOP_BOLD] = "\033[1m",
        [TOP_DIM] = "\033[2m",
        [TOP_HEAD] = "\033[7m",
        [TOP_GOOD] = "\033[1;32m",
        [TOP_BAD] = "\033[31m",
        [TOP_VERY_BAD] = "\033[1;31m",
    };
    const struct top_screen *s = page->screen;
    bool dressed = on[style][0] && s->height > 0 && (s->colour || style <= TOP_HEAD);

    if (dressed)
        fputs(on[style], page->out);
    unsigned columns = top_cell_cut(text, s->width, page->out);
    for (; style == TOP_HEAD && s->height > 0 && columns < s->width; columns++)
        fputc(' ', page->out);
    if (dressed)
        fputs("\033[0m", page->out);
    /* At the right edge it would erase the last column. */
    if (s->height > 0 && columns < s->width)
        fputs("\033[K", page->out);
}

void top_page_line(struct top_page *page, enum top_style style, const char *text)
{
    const struct top_screen *s = page->screen;

    if (s->height > 0 && page->lines >= s->height)
        return;
    if (page->lines++ > 0)
        fputs(s->height > 0 ? "\r\n" : "\n", page->out);
    /* What is shown is old then. */
    if (s->trouble && style != TOP_VERY_BAD)
        style = TOP_DIM;
    print_line(page, style, text);
}

static void line_of_verdict(struct top_page *page)
{
    const struct top_screen *s = page->screen;
    char text[LINE_MAX_BYTES], safe[LINE_MAX_BYTES], span[TEXT_NUMBER_MAX], when[TEXT_NUMBER_MAX];

    if (s->trouble) {
        text_make_safe(safe, sizeof(safe), s->trouble, strlen(s->trouble));
        snprintf(text, sizeof(text), "no answer for %s: %.900s", text_print_duration(span, s->trouble_ms),
                 safe);
        top_page_line(page, TOP_VERY_BAD, text);
        return;
    }
    const struct top_sample *now = s->view->now;
    bool is_well = strcmp(now->verdict, "well") == 0;
    int n = snprintf(text, sizeof(text), "%s since %s", now->verdict,
                     text_print_moment(when, (time_t)now->since, s->now));
    if (now->why[0])
        snprintf(text + n, sizeof(text) - (size_t)n, ": %s", now->why);
    else
        snprintf(text + n, sizeof(text) - (size_t)n, ": %zu service%s, %" PRIu64 " connection%s",
                 now->n_services, now->n_services == 1 ? "" : "s", now->connections,
                 now->connections == 1 ? "" : "s");
    text_make_safe(safe, sizeof(safe), text, strlen(text));
    top_page_line(page, is_well ? TOP_GOOD : TOP_VERY_BAD, safe);
}

static void line_of_daemon(struct top_page *page)
{
    const struct top_screen *s = page->screen;
    const struct top_sample *now = s->view->now;
    char text[LINE_MAX_BYTES], safe[LINE_MAX_BYTES], span[TEXT_NUMBER_MAX], leave[48] = "";

    if (now->leaving > 0)
        snprintf(leave, sizeof(leave), " (%" PRIu64 " older leave%s)", now->leaving,
                 now->leaving == 1 ? "s" : "");
    snprintf(text, sizeof(text), "sockd %s, generation %" PRIu64 "%s, up %s", now->version, now->generation,
             leave, text_print_duration(span, now->uptime_ms));
    text_make_safe(safe, sizeof(safe), text, strlen(text));
    top_page_line(page, TOP_PLAIN, safe);
}

/* A figure of the grid: what it is, and how much. */
struct figure {
    const char *name;
    char value[TOP_CELL_MAX];
};

#define GRID_ROWS    3
#define GRID_COLUMNS 4
#define GRID_WIDTH   20

/* By columns, the more important first. */
static void fill_grid(const struct top_view *v, struct figure grid[GRID_COLUMNS][GRID_ROWS])
{
    static const char *const names[GRID_COLUMNS][GRID_ROWS] = {
        { "requests", "connections", "waiting" },
        { "p99", "p50", "helpers" },
        { "failed", "refused", "accepted" },
        { "received", "sent", "in hand" },
    };
    double least_ms = (double)v->now->bounds_us[0] / 1000;
    char rate[TOP_CELL_MAX];

    for (size_t i = 0; i < GRID_COLUMNS; i++)
        for (size_t j = 0; j < GRID_ROWS; j++)
            grid[i][j].name = names[i][j];
    snprintf(grid[0][0].value, TOP_CELL_MAX, "%.20s/s", top_cell_rate(rate, v->all.requests));
    snprintf(grid[0][1].value, TOP_CELL_MAX, "%" PRIu64, v->now->connections);
    snprintf(grid[0][2].value, TOP_CELL_MAX, "%" PRIu64, v->queue);
    top_cell_latency(grid[1][0].value, v->all.p99_ms, least_ms);
    top_cell_latency(grid[1][1].value, v->all.p50_ms, least_ms);
    snprintf(grid[1][2].value, TOP_CELL_MAX, "%" PRIu64 "/%" PRIu64, v->helpers_busy, v->helpers);
    snprintf(grid[2][0].value, TOP_CELL_MAX, "%.20s/s", top_cell_rate(rate, v->all.failed));
    snprintf(grid[2][1].value, TOP_CELL_MAX, "%.20s/s", top_cell_rate(rate, v->all.refused));
    snprintf(grid[2][2].value, TOP_CELL_MAX, "%.20s/s", top_cell_rate(rate, v->all.accepted));
    top_cell_bytes(grid[3][0].value, v->all.bytes_in);
    top_cell_bytes(grid[3][1].value, v->all.bytes_out);
    snprintf(grid[3][2].value, TOP_CELL_MAX, "%" PRIu64, v->in_hand);
}

static void lines_of_grid(struct top_page *page, unsigned rows)
{
    struct figure grid[GRID_COLUMNS][GRID_ROWS];
    unsigned columns = page->screen->width / GRID_WIDTH;
    char text[GRID_COLUMNS * 2 * TOP_CELL_MAX + 1];

    fill_grid(page->screen->view, grid);
    if (columns < 1)
        columns = 1;
    if (columns > GRID_COLUMNS)
        columns = GRID_COLUMNS;
    for (unsigned row = 0; row < rows; row++) {
        int n = 0;
        for (unsigned i = 0; i < columns; i++)
            n += snprintf(text + n, sizeof(text) - (size_t)n, "%s%s%*s", i ? "  " : "", grid[i][row].name,
                          GRID_WIDTH - 2 - (int)strlen(grid[i][row].name), grid[i][row].value);
        top_page_line(page, TOP_BOLD, text);
    }
}

static void line_of_keys(struct top_page *page)
{
    const struct top_screen *s = page->screen;
    char text[LINE_MAX_BYTES], span[TEXT_NUMBER_MAX];

    while (page->lines + 1 < s->height)
        top_page_line(page, TOP_PLAIN, "");
    snprintf(text, sizeof(text), "q quit  s sort: %s  space now  p %s", top_order_words[s->order],
             s->paused ? "go on (paused)" : "pause");
    if (s->width >= strlen(text) + 12 && !s->paused)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "  every %s",
                 text_print_time(span, s->interval_ms));
    top_page_line(page, TOP_DIM, text);
}

/* What the height allows. */
struct layout {
    unsigned grid, services, processes; /* lines, those of heads included */
    bool daemon, blanks, keys;
};

static struct layout lay_out(const struct top_screen *s)
{
    unsigned h = s->height;
    struct layout l = { .grid = h >= 12  ? GRID_ROWS
                                : h >= 8 ? 2
                                         : h >= 4,
                        .daemon = h >= 12,
                        .blanks = h >= 16 };
    unsigned services = top_services_lines(s->view), processes = top_processes_lines(s);

    if (h == 0)
        return (struct layout){ GRID_ROWS, services, processes, true, true, false };
    l.keys = h >= 8;
    unsigned used = 1 + l.daemon + l.grid + l.keys + 2 * l.blanks;
    unsigned room = h > used ? h - used : 0, gap = l.blanks;

    if (services + gap + processes > room) {
        unsigned third = room / 3;
        unsigned left = room > services + gap ? room - services - gap : 0;
        unsigned most = left > third ? left : third;
        if (processes > most)
            processes = most;
        if (processes < 2 || room < 9)
            processes = 0;
        services = room - processes - (processes ? gap : 0);
    }
    l.services = services;
    l.processes = processes;
    return l;
}

static void draw_view(struct top_page *page)
{
    struct layout l = lay_out(page->screen);

    if (l.daemon)
        line_of_daemon(page);
    if (l.blanks)
        top_page_line(page, TOP_PLAIN, "");
    lines_of_grid(page, l.grid);
    if (l.blanks)
        top_page_line(page, TOP_PLAIN, "");
    top_services_draw(page, l.services);
    if (l.processes > 0) {
        if (l.blanks)
            top_page_line(page, TOP_PLAIN, "");
        top_processes_draw(page, l.processes);
    }
    if (l.keys)
        line_of_keys(page);
}

void top_draw(const struct top_screen *screen, FILE *out)
{
    struct top_page page = { .screen = screen, .out = out };

    if (screen->height > 0)
        fputs("\033[H", out);
    line_of_verdict(&page);
    if (screen->view)
        draw_view(&page);
    fputs(screen->height > 0 ? "\033[J" : "\n", out);
}
