/*
 * sockctl ping: one request at a time over one connection. A reply that did not come in time may still come,
 * and would be taken for the next one's; so the next request then goes over a new connection.
 */
#include "client/ping.h"

#include "base/addr.h"
#include "base/text.h"
#include "client/clock.h"
#include "client/interrupt.h"
#include "client/print.h"
#include "client/say.h"
#include "client/source.h"
#include "client/talk.h"
#include "client/target.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct ping {
    const struct options *options;
    struct target target;
    struct talk talk;
    const char *message;
    size_t message_len;
    uint64_t asked, answered;
    uint64_t min_ns, max_ns, sum_ns;
};

/* Where replies come from, by number. */
static const char *print_peer(char buf[TARGET_TEXT_MAX], const struct ping *p)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t len = sizeof(sa);
    struct addr addr;

    if (p->target.path[0] || getpeername(p->talk.fd, (struct sockaddr *)&sa, &len) < 0)
        return target_print(buf, &p->target);
    addr_from_sockaddr(&addr, &sa);
    return addr_print(buf, &addr);
}

/* A server that says more than was asked for would confuse the next reply. */
static void drop_replies(struct ping *p)
{
    struct frame_message m;

    while (talk_next(&p->talk, &m) == FRAME_MESSAGE)
        talk_drop(&p->talk, &m);
    if (p->talk.in_ended)
        talk_close(&p->talk);
}

/* The length of the reply; -ETIMEDOUT, -ECONNRESET when the connection ended, -EPROTO, or -errno. */
static int64_t await_reply(struct ping *p, uint64_t start_ns)
{
    bool is_close = p->target.framing.kind == FRAME_CLOSE && !p->target.datagrams;
    struct frame_message m;
    enum frame_result result;
    int64_t len = 0;
    int r;

    for (;;) {
        result = talk_next(&p->talk, &m);
        if (result == FRAME_MESSAGE) {
            len += (int64_t)m.len;
            talk_drop(&p->talk, &m);
            if (!is_close)
                return len;
        } else if (result != FRAME_MORE) {
            return -EPROTO;
        }
        if (p->talk.in_ended)
            return is_close && len > 0 && !p->talk.error ? len
                                                         : -(p->talk.error ? p->talk.error : ECONNRESET);
        r = talk_wait(&p->talk, clock_left_ms(start_ns, p->target.timeout_ms));
        if (r == 0 || interrupt_seen)
            return r == 0 ? -ETIMEDOUT : -EINTR;
        if (r < 0)
            return r;
    }
}

static void count(struct ping *p, uint64_t took_ns)
{
    p->answered++;
    p->sum_ns += took_ns;
    if (p->answered == 1 || took_ns < p->min_ns)
        p->min_ns = took_ns;
    if (took_ns > p->max_ns)
        p->max_ns = took_ns;
}

static void say_missing(const struct ping *p, int error)
{
    char text[TARGET_TEXT_MAX], span[TEXT_NUMBER_MAX];
    unsigned long long n = p->asked;

    target_print(text, &p->target);
    if (error == ETIMEDOUT)
        say("no reply to request %llu from %s within %s", n, text,
            text_print_time(span, p->target.timeout_ms));
    else if (error == EPROTO)
        say("the reply to request %llu is no message of framing %s", n,
            frame_print(text, &p->target.framing));
    else if (error == ECONNRESET)
        say("%s ended the connection instead of a reply to request %llu", text, n);
    else
        say("no reply to request %llu from %s: %s", n, text, strerror(error));
}

/* One request and its reply. 0, or an exit status after which no other makes sense. */
static int ask_once(struct ping *p)
{
    char text[TARGET_TEXT_MAX];
    uint64_t start, took;
    int64_t len;

    if (p->talk.fd < 0 && talk_open(&p->talk, &p->target) < 0) {
        p->asked++;
        return p->asked == 1 ? EXIT_REFUSED : 0;
    }
    start = clock_ns();
    p->asked++;
    len = talk_ask(&p->talk, p->message, p->message_len, FRAME_END_LF);
    if (p->target.framing.kind == FRAME_CLOSE)
        talk_end(&p->talk);
    if (len == 0)
        len = await_reply(p, start);
    took = clock_ns() - start;
    if (len >= 0) {
        count(p, took);
        if (!p->options->quiet)
            printf("%lld bytes from %s: seq=%llu time=%.3f ms\n", (long long)len, print_peer(text, p),
                   (unsigned long long)p->asked, (double)took / 1e6);
    } else if (len == -EINTR) {
        p->asked--;
    } else {
        say_missing(p, (int)-len);
    }
    if (len < 0 || p->target.framing.kind == FRAME_CLOSE)
        talk_close(&p->talk);
    return print_flush();
}

/* Waits for the time of the next, if any is left, and sees in any case if the server left meanwhile. */
static void pause_until(struct ping *p, uint64_t start_ns, uint64_t span_ms)
{
    int left, r = 1;

    do {
        left = span_ms > 0 ? clock_left_ms(start_ns, span_ms) : 0;
        if (p->talk.fd < 0) {
            poll(NULL, 0, left);
            continue;
        }
        r = talk_wait(&p->talk, left);
        if (r > 0)
            drop_replies(p);
        else if (r == -EINTR)
            r = 0;
    } while (!interrupt_seen && r >= 0 && left > 0);
}

static void print_summary(const struct ping *p)
{
    printf("%llu requests, %llu replies", (unsigned long long)p->asked, (unsigned long long)p->answered);
    if (p->answered > 0)
        printf("; min/avg/max %.3f/%.3f/%.3f ms", (double)p->min_ns / 1e6,
               (double)p->sum_ns / (double)p->answered / 1e6, (double)p->max_ns / 1e6);
    putchar('\n');
}

static int ask_all(struct ping *p)
{
    uint64_t start;
    int status = 0;

    while (status == 0 && !interrupt_seen && p->asked < (uint64_t)p->options->count) {
        start = clock_ns();
        status = ask_once(p);
        if (p->asked == (uint64_t)p->options->count)
            break;
        if (status == 0)
            pause_until(p, start, p->options->interval_ms);
    }
    if (status)
        return status;
    print_summary(p);
    status = print_flush();
    return status ? status : p->answered == p->asked ? EXIT_WELL : EXIT_REFUSED;
}

/* The message, once it is known that the framing carries it. 0 or an exit status; the caller frees *RET_MADE.
 */
static int make_message(struct ping *p, char **ret_made)
{
    const char *text = p->options->n_words ? p->options->words[0] : "ping";
    char framing[FRAME_TEXT_MAX];
    struct frame_dress dress;
    int n = (int)strlen(text);

    if (p->options->escapes) {
        n = source_unescape(text, strlen(text), ret_made);
        if (n < 0)
            return say_misuse("the message has an unknown escape; a backslash itself is \\\\");
        text = *ret_made;
    }
    p->message = text;
    p->message_len = (size_t)n;
    if (!p->target.datagrams && frame_dress(&p->target.framing, FRAME_END_LF, text, (size_t)n, &dress) < 0)
        return say_misuse("framing %s cannot carry this message; name another",
                          frame_print(framing, &p->target.framing));
    return 0;
}

int ping_run(struct options *o)
{
    struct ping p = { .options = o, .talk.fd = -1 };
    char *made = NULL;
    int status = target_init(&p.target, o);

    if (status == 0)
        status = make_message(&p, &made);
    if (status == 0) {
        interrupt_catch(SIGINT);
        status = ask_all(&p);
    }
    talk_close(&p.talk);
    free(made);
    return status;
}
