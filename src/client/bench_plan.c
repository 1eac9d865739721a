/* The plan of a load, from the command line; see bench_plan.h. */
#include "client/bench_plan.h"

#include "client/say.h"
#include "client/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Requests that may leave with one system call, in bytes, if they are short. */
#define WIRE_LEN ((size_t)64 << 10)

#define MESSAGE_LEN 64

static char *make_letters(size_t len)
{
    char *letters = malloc(len + 1);

    if (!letters)
        return NULL;
    for (size_t i = 0; i < len; i++)
        letters[i] = (char)('a' + i % 26);
    return letters;
}

/* The text of an option or a word, with its escapes read if that is wanted. 0 or an exit status. */
static int read_text(const struct options *o, const char *text, char **ret, size_t *ret_len)
{
    int n = (int)strlen(text);

    if (o->escapes)
        n = source_unescape(text, strlen(text), ret);
    else
        *ret = strdup(text);
    if (n == -EINVAL)
        return say_misuse("the message has an unknown escape; a backslash itself is \\\\");
    if (n < 0 || !*ret) {
        say("%s", strerror(ENOMEM));
        return EXIT_REFUSED;
    }
    *ret_len = (size_t)n;
    return 0;
}

static int make_message(const struct bench_plan *plan, const struct options *o, char **ret, size_t *ret_len)
{
    bool is_fixed = plan->target.framing.kind == FRAME_FIXED && !plan->target.datagrams;

    if (o->n_words > 0 && o->size_given)
        return say_misuse("--size cannot stand with a message");
    if (o->verify && o->expect)
        return say_misuse("--verify cannot stand with --expect");
    if (o->n_words > 0)
        return read_text(o, o->words[0], ret, ret_len);
    *ret_len = o->size_given ? o->size : is_fixed ? plan->target.framing.size : MESSAGE_LEN;
    *ret = make_letters(*ret_len);
    if (*ret)
        return 0;
    say("%s", strerror(ENOMEM));
    return EXIT_REFUSED;
}

/* Fills WIRE with as many framed requests as fit well. */
static int fill_wire(struct bench_plan *plan, const struct frame_dress *dress, const char *message)
{
    size_t n = plan->depth;

    if (n > WIRE_LEN / plan->frame_len)
        n = WIRE_LEN / plan->frame_len + 1;
    plan->wire_len = n * plan->frame_len;
    plan->wire = malloc(plan->wire_len);
    if (!plan->wire)
        return -ENOMEM;
    for (char *at = plan->wire; at < plan->wire + plan->wire_len; at += plan->frame_len) {
        memcpy(at, dress->head, dress->head_len);
        memcpy(at + dress->head_len, message, plan->message_len);
        memcpy(at + dress->head_len + plan->message_len, dress->tail, dress->tail_len);
    }
    return 0;
}

/* An echo's reply is the message as the server finds it, which may differ: a block gets its line end. */
static int expect_echo(struct bench_plan *plan, const char *message)
{
    struct frame_message m = { .len = plan->message_len };
    struct frame_scan scan = { 0 };
    const struct frame_input in = {
        &plan->target.framing, &scan, plan->wire, plan->frame_len, SIZE_MAX, true
    };

    if (!plan->target.datagrams && frame_next(&in, &m) != FRAME_MESSAGE)
        return -EBADMSG;
    plan->expected = malloc(m.len + 1);
    if (!plan->expected)
        return -ENOMEM;
    memcpy(plan->expected, plan->target.datagrams ? message : plan->wire + m.start, m.len);
    plan->expected_len = m.len;
    return 0;
}

static int plan_message(struct bench_plan *plan, const struct options *o, const char *message)
{
    char text[FRAME_TEXT_MAX];
    struct frame_dress dress = { 0 };
    int r = 0;

    if (!plan->target.datagrams)
        r = frame_dress(&plan->target.framing, FRAME_END_LF, message, plan->message_len, &dress);
    plan->frame_len = dress.head_len + plan->message_len + dress.tail_len;
    if (r == 0 && plan->frame_len == 0)
        return say_misuse("an empty message cannot be counted here");
    if (r == 0)
        r = fill_wire(plan, &dress, message);
    if (r == 0 && o->expect)
        return read_text(o, o->expect, &plan->expected, &plan->expected_len);
    if (r == 0 && o->verify)
        r = expect_echo(plan, message);
    if (r == -EBADMSG)
        return say_misuse("framing %s cannot carry this message; name another",
                          frame_print(text, &plan->target.framing));
    if (r < 0)
        say("%s", strerror(-r));
    return r < 0 ? EXIT_REFUSED : 0;
}

int bench_plan_init(struct bench_plan *ret, const struct options *o)
{
    uint64_t duration_ms = o->duration_given ? o->duration_ms : 10000;
    bool is_timed = o->duration_given || !o->count_given;
    uint64_t warm_up_ms = !is_timed ? 0 : duration_ms < 10000 ? duration_ms / 10 : 1000;
    char *message = NULL;
    int status;

    *ret = (struct bench_plan){
        .connections = (size_t)o->connections,
        .depth = (size_t)o->depth,
        .processes = (size_t)(o->processes < o->connections ? o->processes : o->connections),
        .requests = o->count_given ? (uint64_t)o->count : UINT64_MAX,
        .duration_ns = is_timed ? duration_ms * 1000000 : UINT64_MAX,
        .warm_up_ns = (o->warm_up_given ? o->warm_up_ms : warm_up_ms) * 1000000,
        .rate = (double)o->rate,
    };
    status = target_init(&ret->target, o);
    if (status)
        return status;
    ret->new_connections =
        !ret->target.datagrams && (o->new_connections || ret->target.framing.kind == FRAME_CLOSE);
    if (o->new_connections && ret->target.datagrams)
        return say_misuse("--new-connections means nothing to datagrams");
    if (ret->new_connections && ret->depth > 1)
        return say_misuse("-P means nothing where a connection has one request");
    status = make_message(ret, o, &message, &ret->message_len);
    if (status == 0 && message)
        status = plan_message(ret, o, message);
    free(message);
    return status;
}

void bench_plan_done(struct bench_plan *plan)
{
    free(plan->wire);
    free(plan->expected);
    plan->wire = plan->expected = NULL;
}
