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
        log_event(it->level, LOG_ID_CONFIGURATION, "%s", it->text);
}

void complaints_print(const struct complaints *c, const char *prefix, FILE *out)
{
    for (const struct complaint *it = c->first; it; it = it->next)
        fprintf(out, "%s%s%s\n", prefix, it->level == LOG_WARNING ? "warning: " : "", it->text);
}

static int level_of(bool fatal)
{
    return fatal ? LOG_ERR : LOG_WARNING;
}

static void append(struct complaints *c, int level, const char *text, size_t len)
{
    size_t size = 4 * len + 1;
    struct complaint *complaint = malloc(sizeof(*complaint) + size);

    c->n_fatal += level == LOG_ERR;
    if (!complaint)
        return;
    complaint->next = NULL;
    complaint->level = level;
    text_make_safe(complaint->text, size, text, len);
    *c->tail = complaint;
    c->tail = &complaint->next;
}

__attribute__((format(printf, 3, 0))) static void add(struct complaints *c, int level, const char *format,
                                                      va_list args)
{
    char *text = NULL;
    int len = vasprintf(&text, format, args);

    if (len < 0) {
        append(c, level, "out of memory", 13);
        return;
    }
    append(c, level, text, (size_t)len);
    free(text);
}

void complaints_add(struct complaints *c, bool fatal, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    add(c, level_of(fatal), format, args);
    va_end(args);
}

void complaints_notice(struct complaints *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    add(c, LOG_NOTICE, format, args);
    va_end(args);
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
        append(c, level_of(fatal), "out of memory", 13);
        return;
    }
    print_place(out, place, line, key);
    va_start(args, format);
    vfprintf(out, format, args);
    va_end(args);
    if (fclose(out) == 0)
        append(c, level_of(fatal), text, len);
    else
        append(c, level_of(fatal), "out of memory", 13);
    free(text);
}
