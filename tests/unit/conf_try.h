/* Loading a configuration from a text of a test, called "t", and what is said about it. */
#ifndef SOCKD_CONF_TRY_H
#define SOCKD_CONF_TRY_H

#include "test.h"

#include "conf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A text that is written piece by piece; the caller closes the stream and frees the text. */
static inline FILE *open_text(char **ret_text)
{
    static size_t len;
    FILE *out = open_memstream(ret_text, &len);

    assert_non_null(out);
    if (!out)
        abort(); /* assert_non_null has left already; this is for the analyzer */
    return out;
}

/* All complaints, a line each, warnings led by "warning: ". The caller frees it. */
static inline char *complaints_text(const struct complaints *complaints)
{
    char *text = NULL;
    FILE *out = open_text(&text);

    for (const struct complaint *c = complaints->first; c; c = c->next)
        fprintf(out, "%s%s\n", complaint_is_fatal(c) ? "" : "warning: ", c->text);
    assert_int_equal(fclose(out), 0);
    return text;
}

/* The configuration, or NULL; the complaints are given in *RET_SAID, if wanted, else there must be none. */
static inline struct conf *try_text(const char *text, char **ret_said)
{
    struct complaints complaints;
    struct conf *conf = NULL;
    char *said;
    int r;

    complaints_init(&complaints);
    r = conf_load_text("t", text, strlen(text), &complaints, &conf);
    said = complaints_text(&complaints);
    assert_int_equal(r, complaints.n_fatal ? -EINVAL : 0);
    complaints_done(&complaints);
    if (ret_said) {
        *ret_said = said;
        return conf;
    }
    assert_string_equal(said, "");
    free(said);
    return conf;
}

/* What is said about TEXT, all of it, must be SAID. */
static inline void assert_said(const char *text, const char *expected)
{
    char *said;
    struct conf *conf = try_text(text, &said);

    assert_string_equal(said, expected);
    free(said);
    conf_unref(conf);
}

/* The same for a text of keys within a service "s" that is well but for them. */
static inline void assert_service_said(const char *keys, const char *expected)
{
    char *text;

    assert_true(asprintf(&text, "services: { s: { %s\n}; };", keys) > 0);
    assert_said(text, expected);
    free(text);
}

static inline char *shown(const struct conf *conf)
{
    char *text = NULL;
    FILE *out = open_text(&text);

    conf_show(conf, CONF_WHOLE, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

#endif
