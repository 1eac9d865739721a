/*
 * The picture that top shows: lines that fit a width and a height, as text and plain ANSI sequences. Pure but
 * for what it prints; bytes of strangers are made harmless.
 */
#ifndef SOCKD_CLIENT_TOP_DRAW_H
#define SOCKD_CLIENT_TOP_DRAW_H

#include "client/top_rates.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

struct top_screen {
    const struct top_view *view; /* borrows; NULL: nothing is known yet */
    const char *trouble;         /* why there is no news, NULL: there is */
    uint64_t trouble_ms;         /* for how long */
    enum top_order order;
    bool paused;
    uint64_t interval_ms;
    time_t now;
    unsigned width, height; /* 0 rows: as many as it takes, without escapes, for what is no terminal */
    bool colour;
};

void top_draw(const struct top_screen *screen, FILE *out);

/* As one JSON object, whose names are stable. */
void top_print_json(const struct top_view *view, FILE *out);

#endif
