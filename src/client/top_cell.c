/* Short figures; see top_cell.h. */
#include "client/top_cell.h"

#include <stdbool.h>
#include <string.h>
#include <wchar.h>

static const char *const units[] = { "", "k", "M", "G", "T" };

/* To below 1000 of the unit that is returned. */
static const char *scale(double *value)
{
    size_t i = 0;

    while (*value >= 999.5 && i + 1 < sizeof(units) / sizeof(units[0])) {
        *value /= 1000;
        i++;
    }
    return units[i];
}

/* 1.2 and 45, and 0 is not 0.0. */
static int decimals_of(double value)
{
    return value >= 0.05 && value < 9.95 ? 1 : 0;
}

char *top_cell_rate(char buf[TOP_CELL_MAX], double value)
{
    if (value < 9999.5) {
        snprintf(buf, TOP_CELL_MAX, "%.*f", decimals_of(value), value);
        return buf;
    }
    const char *unit = scale(&value);
    snprintf(buf, TOP_CELL_MAX, "%.*f%s", value < 99.95 ? 1 : 0, value, unit);
    return buf;
}

char *top_cell_bytes(char buf[TOP_CELL_MAX], double per_second)
{
    const char *unit = scale(&per_second);

    snprintf(buf, TOP_CELL_MAX, "%.*f %sB/s", decimals_of(per_second), per_second, unit);
    return buf;
}

char *top_cell_latency(char buf[TOP_CELL_MAX], double ms, double least_ms)
{
    if (ms < 0)
        return strcpy(buf, "-");
    if (ms < least_ms)
        snprintf(buf, TOP_CELL_MAX, "<%.2g ms", least_ms);
    else if (ms < 999.5)
        snprintf(buf, TOP_CELL_MAX, "%.*f ms", decimals_of(ms), ms);
    else
        snprintf(buf, TOP_CELL_MAX, "%.*f s", decimals_of(ms / 1000), ms / 1000);
    return buf;
}

/* The next character of TEXT: its bytes, 1 at least, and its columns, -1 when it cannot be shown. */
static size_t next_char(const char *text, int *ret_columns)
{
    mbstate_t state = { 0 };
    wchar_t c;
    size_t n = mbrtowc(&c, text, strlen(text), &state);
    bool is_good = n > 0 && n < (size_t)-2;

    *ret_columns = is_good ? wcwidth(c) : -1;
    return is_good ? n : 1;
}

static unsigned columns_of(const char *text)
{
    unsigned sum = 0;
    int columns;

    for (; *text; sum += columns < 0 ? 1 : (unsigned)columns)
        text += next_char(text, &columns);
    return sum;
}

unsigned top_cell_cut(const char *text, unsigned width, FILE *out)
{
    unsigned room = columns_of(text) <= width ? width : width - (width > 0), at = 0;
    int columns;

    while (*text) {
        size_t n = next_char(text, &columns);
        unsigned takes = columns < 0 ? 1 : (unsigned)columns;

        if (at + takes > room) {
            fputs(room < width ? "~" : "", out);
            return at + (room < width);
        }
        fwrite(columns < 0 ? "?" : text, 1, columns < 0 ? 1 : n, out);
        text += n;
        at += takes;
    }
    return at;
}
