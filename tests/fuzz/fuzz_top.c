/*
 * Two answers, a line each, that a daemon may give to `status --json`, and what top makes of them. Holds that
 * a picture of any size has no control character but its own, and that what is printed as JSON is complete.
 */
#include "client/top_draw.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_picture(const char *text, bool has_escapes)
{
    for (const char *c = text; *c; c++) {
        unsigned char byte = (unsigned char)*c;

        if (has_escapes && (byte == '\033' || byte == '\r'))
            assert(c[1] == (byte == '\r' ? '\n' : '['));
        else
            assert((byte >= ' ' && byte != 0x7f) || byte == '\n');
        assert(byte != 0xc2 || (unsigned char)c[1] >= 0xa0); /* U+0080 to U+009F control terminals too */
    }
}

static void check_json(const char *text, size_t len)
{
    assert(len > 3 && text[0] == '{' && strcmp(text + len - 2, "}\n") == 0);
    assert(strstr(text, "\"p99_ms\"") && strstr(text, "\"bytes_out_per_second\""));
}

static void draw(const struct top_view *view, enum top_order order, unsigned width, unsigned height)
{
    const struct top_screen screen = {
        .view = view, .order = order, .interval_ms = 1000, .now = 1800000000, .width = width, .height = height
    };
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert(out);
    top_draw(&screen, out);
    int r = fclose(out);
    assert(r == 0 && len > 0);
    check_picture(text, height > 0);
    free(text);
}

static void print(const struct top_view *view)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    assert(out);
    top_print_json(view, out);
    int r = fclose(out);
    assert(r == 0);
    check_json(text, len);
    free(text);
}

static void show(const struct top_sample *before, const struct top_sample *now)
{
    static const unsigned sizes[TOP_ORDERS][2] = { { 80, 24 }, { 20, 5 }, { 200, 0 }, { 1, 1 }, { 40, 12 } };
    struct top_view view;

    int r = top_view_make(&view, before, now);
    assert(r == 0);
    for (int order = 0; order < TOP_ORDERS; order++) {
        top_view_sort(&view, (enum top_order)order);
        draw(&view, (enum top_order)order, sizes[order][0], sizes[order][1]);
    }
    print(&view);
    top_view_done(&view);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *lf = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t first = lf ? (size_t)(lf - data) : size, second = lf ? size - first - 1 : 0;
    struct top_sample before = { 0 }, now = { 0 };

    bool has_before = top_sample_parse((const char *)data, first, &before) == 0;
    bool has_now = lf && top_sample_parse((const char *)lf + 1, second, &now) == 0;
    if (has_before)
        show(NULL, &before);
    if (has_now)
        show(has_before ? &before : NULL, &now);
    top_sample_done(&before);
    top_sample_done(&now);
    return 0;
}
