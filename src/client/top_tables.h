/* The two tables of top: services, with the columns that the width allows, and processes, several side by
 * side. */
#ifndef SOCKD_CLIENT_TOP_TABLES_H
#define SOCKD_CLIENT_TOP_TABLES_H

#include "client/top_draw.h"

enum top_style {
    TOP_PLAIN,
    TOP_BOLD,
    TOP_DIM,
    TOP_HEAD,
    /* These take colours. */
    TOP_GOOD,
    TOP_BAD,
    TOP_VERY_BAD,
};

/* Where lines go; none is printed below the last row of the screen. */
struct top_page {
    const struct top_screen *screen;
    FILE *out;
    unsigned lines;
};

void top_page_line(struct top_page *page, enum top_style style, const char *text);

/* How many lines all of it takes, the head included. */
unsigned top_services_lines(const struct top_view *view);
unsigned top_processes_lines(const struct top_screen *screen);

/* In at most so many LINES; the last says how many more there are. */
void top_services_draw(struct top_page *page, unsigned lines);
void top_processes_draw(struct top_page *page, unsigned lines);

#endif
