/* Figures as top shows them: short, and cut to columns of a terminal. Pure. */
#ifndef SOCKD_CLIENT_TOP_CELL_H
#define SOCKD_CLIENT_TOP_CELL_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TOP_CELL_MAX 24

/* "0", "0.4", "12", "1234", "12.3k", "1.2M". Returns BUF. */
char *top_cell_rate(char buf[TOP_CELL_MAX], double value);
/* "12 B/s", "3.1 MB/s". Returns BUF. */
char *top_cell_bytes(char buf[TOP_CELL_MAX], double per_second);
/* "1.2 ms", "45 ms", "3.1 s"; "<0.1 ms" below LEAST_MS, the end of the first bucket; "-" when negative. */
char *top_cell_latency(char buf[TOP_CELL_MAX], double ms, double least_ms);

/* Prints TEXT, at most WIDTH columns of it, with "~" for the end where it is cut; what cannot be shown is
 * "?". Returns the columns. */
unsigned top_cell_cut(const char *text, unsigned width, FILE *out);

#endif
