/* Text in columns; see table.h. Pure but for what it prints. */
#include "table.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int table_init(struct table *t, unsigned columns, unsigned right)
{
    assert(columns <= TABLE_COLUMNS_MAX);
    *t = (struct table){ .columns = columns, .right = right };
    t->out = open_memstream(&t->cells, &t->len);
    return t->out ? 0 : -ENOMEM;
}

void table_add(struct table *t, const char *format, ...)
{
    unsigned column = (unsigned)(t->n++ % t->columns);
    va_list args;

    va_start(args, format);
    int width = vfprintf(t->out, format, args);
    va_end(args);
    fputc('\0', t->out);
    if (width > t->width[column])
        t->width[column] = width;
}

static void print_cell(const struct table *t, unsigned column, const char *cell, FILE *out)
{
    bool last = column + 1 == t->columns;

    if (t->right & 1u << column)
        fprintf(out, "%*s", t->width[column], cell);
    else
        fprintf(out, "%-*s", last ? 0 : t->width[column], cell);
    fputs(last ? "\n" : "  ", out);
}

void table_end(struct table *t, FILE *out)
{
    const char *cell;
    bool whole = fclose(t->out) == 0;

    cell = t->cells;
    for (size_t i = 0; whole && i < t->n; i++) {
        print_cell(t, (unsigned)(i % t->columns), cell, out);
        cell += strlen(cell) + 1;
    }
    free(t->cells);
}
