/*
 * The list of problems of a configuration. Runs in the master, in `sockd --check` and in sockctl. It logs
 * only what it is asked to; each text is made fit for one line when it is added.
 */
#include "complaints.h"

#include "base/log.h"
#include "base/text.h"
#include "log_ids.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void complaints_init(struct complaints *c)
{
    *c = (struct complaints){ .tail = &c->first };
}

void complaints_done(struct complaints *c)
{
    struct complaint *next;

    for (struct complaint *it = c->first; it; it = next) {
        next = it->next;
        free(it);
    }
    complaints_init(c);
}

void complaints_log(const struct complaints *c)
{
    for (const struct complaint *it = c->first; it; it = it->next)
        log_event(it->fatal ? LOG_ERR : LOG_WARNING, LOG_ID_CONFIGURATION, "%s", it->text);
}

static void append(struct complaints *c, bool fatal, const char *text, size_t len)
{
    size_t size = 4 * len + 1;
    struct complaint *complaint = malloc(sizeof(*complaint) + size);

    if (fatal)
        c->n_fatal++;
    else
        c->n_warnings++;
    if (!complaint)
        return;
    complaint->next = NULL;
    complaint->fatal = fatal;
    text_make_safe(complaint->text, size, text, len);
    *c->tail = complaint;
    c->tail = &complaint->next;
}

void complaints_add(struct complaints *c, bool fatal, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    int len;

    va_start(args, format);
    len = vasprintf(&text, format, args);
    va_end(args);
    if (len < 0)
        append(c, fatal, "out of memory", 13);
    else
        append(c, fatal, text, (size_t)len);
    if (len >= 0)
        free(text);
}

/* "file:line: prefix+key: " */
static void print_place(FILE *out, const struct place *place, int line, const char *key)
{
    char number[16] = "";

    if (line)
        snprintf(number, sizeof(number), ":%d", line);
    fprintf(out, "%s%s: ", place->file, number);
    if (key)
        fprintf(out, "%s%s: ", place->prefix, key);
}

void complaints_add_at(struct complaints *c, bool fatal, const struct place *place, int line, const char *key,
                       const char *format, ...)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    va_list args;

    if (!out) {
        append(c, fatal, "out of memory", 13);
        return;
    }
    print_place(out, place, line, key);
    va_start(args, format);
    vfprintf(out, format, args);
    va_end(args);
    if (fclose(out) == 0)
        append(c, fatal, text, len);
    else
        append(c, fatal, "out of memory", 13);
    free(text);
}
