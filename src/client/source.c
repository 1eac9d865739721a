/*
 * Where the requests of a client come from. Frames that cannot be understood are passed on as they stand:
 * whoever sends them to a server on purpose wants to see what the server says.
 */
#include "client/source.h"

#include "base/text.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_SIZE ((size_t)64 << 10)

void source_init(struct source *ret, enum source_kind kind, bool escapes)
{
    *ret = (struct source){ .kind = kind, .escapes = escapes, .fd = -1 };
    ret->account.limit = SIZE_MAX;
}

void source_done(struct source *s)
{
    buf_done(&s->buf, &s->account);
    free(s->scratch);
    s->scratch = NULL;
}

bool source_wants_input(const struct source *s)
{
    return s->kind != SOURCE_WORDS && !s->ended;
}

int source_read(struct source *s)
{
    ssize_t n;
    int r = buf_reserve(&s->buf, &s->account, READ_SIZE);

    if (r < 0)
        return r;
    do
        n = read(s->fd, buf_data(&s->buf) + s->buf.len, READ_SIZE);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? 0 : -errno;
    if (n == 0)
        s->ended = true;
    else
        buf_added(&s->buf, (size_t)n);
    return 0;
}

int source_unescape(const char *data, size_t len, char **ret)
{
    char *text = len < INT_MAX ? malloc(len + 1) : NULL;
    char *plain = text ? malloc(len + 1) : NULL;
    int n = -ENOMEM;

    if (plain) {
        if (len > 0)
            memcpy(text, data, len);
        text[len] = '\0';
        n = strlen(text) == len ? text_unescape(text, plain) : -EINVAL;
    }
    free(text);
    if (n < 0)
        free(plain);
    else
        *ret = plain;
    return n;
}

static int unescape(struct source *s, struct source_item *item)
{
    int n;

    free(s->scratch);
    s->scratch = NULL;
    n = source_unescape(item->data, item->len, &s->scratch);
    if (n < 0)
        return n;
    item->data = s->scratch;
    item->len = (size_t)n;
    return 0;
}

static bool next_word(struct source *s, struct source_item *item)
{
    if (!*s->words)
        return false;
    *item = (struct source_item){ .data = *s->words, .len = strlen(*s->words) };
    s->words++;
    return true;
}

/* All that is there, as it stands. */
static bool next_bytes(struct source *s, struct source_item *item)
{
    s->uncounted = true;
    if (s->buf.len == 0)
        return false;
    *item = (struct source_item){ .data = buf_data(&s->buf), .len = s->buf.len, .as_it_is = true };
    s->consumed = s->buf.len;
    return true;
}

static bool next_message(struct source *s, struct source_item *item)
{
    static const struct framing lines = { .kind = FRAME_LINE };
    bool is_line = s->kind == SOURCE_LINES;
    const struct frame_input in = { .framing = is_line ? &lines : s->framing,
                                    .scan = &s->scan,
                                    .data = buf_data(&s->buf),
                                    .len = s->buf.len,
                                    .max = BUF_MAX / 2,
                                    .end = s->ended };
    struct frame_message m;
    enum frame_result result;

    if (s->buf.len == 0)
        return false;
    result = frame_next(&in, &m);
    if (result == FRAME_MORE)
        return false;
    if (result != FRAME_MESSAGE) {
        s->kind = SOURCE_BYTES;
        return next_bytes(s, item);
    }
    s->scan = (struct frame_scan){ 0 };
    s->consumed = m.frame_len;
    *item = (struct source_item){ .data = buf_data(&s->buf), .len = m.frame_len, .as_it_is = !is_line };
    if (is_line) {
        item->data += m.start;
        item->len = m.len;
        item->end = m.end == FRAME_END_CRLF ? FRAME_END_CRLF : FRAME_END_LF;
    }
    return true;
}

static bool next_whole(struct source *s, struct source_item *item)
{
    if (!s->ended || s->n > 0)
        return false;
    *item = (struct source_item){ .data = s->buf.len ? buf_data(&s->buf) : "", .len = s->buf.len };
    s->consumed = s->buf.len;
    return true;
}

static bool next_item(struct source *s, struct source_item *item)
{
    switch (s->kind) {
    case SOURCE_WORDS:
        return next_word(s, item);
    case SOURCE_LINES:
    case SOURCE_FRAMES:
        return next_message(s, item);
    case SOURCE_BYTES:
        return next_bytes(s, item);
    case SOURCE_WHOLE:
        return next_whole(s, item);
    }
    return false;
}

int source_next(struct source *s, struct source_item *ret)
{
    struct source_item item = { 0 };
    int r;

    if (s->consumed > 0)
        buf_consume(&s->buf, &s->account, s->consumed);
    s->consumed = 0;
    if (!next_item(s, &item))
        return 0;
    s->n++;
    if (s->escapes && !item.as_it_is) {
        r = unescape(s, &item);
        if (r < 0)
            return r;
    }
    *ret = item;
    return 1;
}
