/*
 * Any line that a client of the control socket may send. Holds that the words lie within the line, are
 * printable, not empty, and in order, and that parsing what they were joined to again gives the same words.
 */
#include "control.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_word(const char *word, const char *base, size_t len)
{
    assert(word >= base && word + strlen(word) <= base + len);
    assert(*word);
    for (const char *c = word; *c; c++)
        assert(*c > ' ' && *c <= '~');
}

static void check_line(const struct control_line *line, const char *base, size_t len)
{
    const char *last = line->command;

    check_word(line->command, base, len);
    assert(line->n_args <= CONTROL_ARGS_MAX);
    for (size_t i = 0; i < line->n_args; i++) {
        check_word(line->arg[i], base, len);
        assert(line->arg[i] > last);
        last = line->arg[i];
    }
}

/* The words with single spaces; the caller frees it. */
static char *join(const struct control_line *line, size_t len)
{
    char *text = malloc(len + 8);

    assert(text);
    strcpy(text, line->command);
    if (line->json)
        strcat(text, " " CONTROL_JSON);
    for (size_t i = 0; i < line->n_args; i++)
        strcat(strcat(text, " "), line->arg[i]);
    return text;
}

static bool same(const struct control_line *a, const struct control_line *b)
{
    if (strcmp(a->command, b->command) != 0 || a->json != b->json || a->n_args != b->n_args)
        return false;
    for (size_t i = 0; i < a->n_args; i++)
        if (strcmp(a->arg[i], b->arg[i]) != 0)
            return false;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_line line, again;

    if (size > CONTROL_LINE_MAX)
        return 0;
    char *text = malloc(size + 1);
    assert(text);
    memcpy(text, data, size);
    if (control_parse(text, size, &line) == 0) {
        check_line(&line, text, size);
        char *joined = join(&line, size);
        assert(control_parse(joined, strlen(joined), &again) == 0);
        assert(same(&line, &again));
        free(joined);
    }
    free(text);
    return 0;
}
