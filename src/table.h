/* Text in columns, for people. Cells are added one after another; each column is as wide as its widest. */
#ifndef SOCKD_TABLE_H
#define SOCKD_TABLE_H

#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

struct table {
    unsigned columns;
    unsigned right; /* a bit for each column that stands to the right */
    FILE *out;      /* owns */
    char *cells;    /* owns; each with its NUL */
    size_t len, n;
    int width[TABLE_COLUMNS_MAX];
};

/* 0 or -ENOMEM. */
int table_init(struct table *t, unsigned columns, unsigned right);
void table_add(struct table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints it to OUT and frees it. */
void table_end(struct table *t, FILE *out);

#endif
