/*
 * The configuration from any bytes: it loads or is refused with a complaint, and what was loaded is shown in
 * a form that loads again to the same. Reads the names of ports and groups; writes nothing.
 */
#include "conf.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct conf *load(const char *text, size_t len)
{
    struct complaints complaints;
    struct conf *conf = NULL;
    int r;

    complaints_init(&complaints);
    r = conf_load_text("fuzz", text, len, &complaints, &conf);
    assert((r == 0) == (complaints.n_fatal == 0));
    for (const struct complaint *c = complaints.first; c; c = c->next)
        assert(!strchr(c->text, '\n'));
    complaints_done(&complaints);
    return conf;
}

static char *show(const struct conf *conf, size_t *ret_len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, ret_len);

    assert(out);
    conf_show(conf, CONF_WHOLE, out);
    assert(fclose(out) == 0);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf *conf = load((const char *)data, size), *again;
    char *text, *text_again;
    size_t len, len_again;

    if (!conf)
        return 0;
    text = show(conf, &len);
    again = load(text, len);
    assert(again);
    text_again = show(again, &len_again);
    assert(len == len_again && memcmp(text, text_again, len) == 0);
    free(text);
    free(text_again);
    conf_unref(conf);
    conf_unref(again);
    return 0;
}
