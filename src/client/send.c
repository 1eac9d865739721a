/*
 * sockctl send: requests go out as fast as the server takes them while replies are printed as they come, so
 * that neither a large input nor a large output can stand still. Datagrams go one at a time, each after the
 * last one's reply.
 */
#include "client/send.h"

#include "base/fd.h"
#include "base/text.h"
#include "client/clock.h"
#include "client/print.h"
#include "client/say.h"
#include "client/source.h"
#include "client/talk.h"
#include "client/target.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct sending {
    struct target target;
    struct source source;
    const char *input; /* borrows: the name of what the source reads */
    int unread;        /* why it cannot be read, an errno; 0 */
    struct talk talk;
    struct print print;
    uint64_t sent, got, lost; /* requests, their replies, and those that did not come */
    bool asked_all;           /* no request will follow */
    uint64_t since_ns;        /* when something moved last */
};

static bool is_uncounted(const struct sending *s)
{
    return s->source.uncounted || (s->target.framing.kind == FRAME_CLOSE && !s->target.datagrams);
}

static int say_bad_message(const struct sending *s, int error)
{
    char framing[FRAME_TEXT_MAX];
    unsigned long long n = s->source.n;

    switch (-error) {
    case EINVAL:
        return say_misuse("message %llu has an unknown escape; a backslash itself is \\\\", n);
    case EBADMSG:
        return say_misuse("framing %s cannot carry message %llu", frame_print(framing, &s->target.framing),
                          n);
    case EMSGSIZE:
        return say_misuse("message %llu is too long", n);
    }
    say("%s", strerror(-error));
    return EXIT_REFUSED;
}

/* Looks at all words before anything is sent. */
static int check_words(struct sending *s, char **words)
{
    struct source_item item;
    struct frame_dress dress;
    int r;

    s->source.words = words;
    while ((r = source_next(&s->source, &item)) > 0) {
        if (!s->target.datagrams)
            r = frame_dress(&s->target.framing, FRAME_END_LF, item.data, item.len, &dress);
        if (r < 0)
            break;
    }
    if (r < 0)
        return say_bad_message(s, r);
    s->source.words = words;
    s->source.n = 0;
    return 0;
}

static int open_words(struct sending *s, const struct options *o)
{
    if (o->file || o->each_line)
        return say_misuse("%s cannot stand with messages", o->file ? "-f" : "--each-line");
    if (s->target.framing.kind == FRAME_CLOSE && !s->target.datagrams && o->n_words > 1)
        return say_misuse("with framing close a connection carries one message");
    source_init(&s->source, SOURCE_WORDS, o->escapes);
    return check_words(s, o->words);
}

static enum source_kind kind_of_input(const struct options *o, const struct target *t)
{
    if (o->each_line || t->framing.kind == FRAME_LINE)
        return SOURCE_LINES;
    if (t->framing.kind == FRAME_CLOSE)
        return t->datagrams ? SOURCE_WHOLE : SOURCE_BYTES;
    return SOURCE_FRAMES;
}

/* A descriptor that can be read, or -1 and errno. */
static int open_file(const char *file)
{
    int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
        return fd;
    if (fd > STDIN_FILENO)
        fd_close(&fd);
    errno = EISDIR;
    return -1;
}

static int open_input(struct sending *s, const struct options *o)
{
    enum source_kind kind = kind_of_input(o, &s->target);

    if (o->each_line && s->target.framing.kind == FRAME_CLOSE && !s->target.datagrams)
        return say_misuse("with framing close a connection carries one message, not one a line");
    if (kind == SOURCE_FRAMES && s->target.datagrams)
        return say_misuse(
            "datagrams have no framing; the input is a datagram a line, or with -F close one in all");
    if (o->escapes && kind != SOURCE_LINES)
        return say_misuse("-e needs messages as words or lines");
    const char *file = o->file && strcmp(o->file, "-") != 0 ? o->file : NULL;
    s->input = file ? file : "standard input";
    source_init(&s->source, kind, o->escapes);
    s->source.framing = &s->target.framing;
    s->source.fd = open_file(file);
    if (s->source.fd < 0) {
        say("cannot read %s: %s", s->input, strerror(errno));
        return EXIT_MISUSED;
    }
    return 0;
}

/* Nothing more is taken from the source until some of it has gone. */
static bool is_full(const struct sending *s)
{
    if (s->talk.datagrams)
        return s->got + s->lost < s->sent;
    return s->talk.out.len >= TALK_HIGH_WATER;
}

/* The server does not take requests any more, though some are left. */
static bool is_cut(const struct sending *s)
{
    return s->talk.out_ended && !s->talk.end_wanted;
}

/* Frames and queues one. 0 or an exit status; a server that cannot be reached ends the conversation later. */
static int ask(struct sending *s, const struct source_item *item)
{
    int r;

    if (item->as_it_is)
        r = talk_put(&s->talk, item->data, item->len);
    else
        r = talk_ask(&s->talk, item->data, item->len, item->end);
    if (r == -ECONNREFUSED || r == -ECONNRESET) {
        s->talk.error = -r;
        s->talk.in_ended = true;
    } else if (r < 0) {
        return say_bad_message(s, r);
    }
    s->sent++;
    return 0;
}

static int ask_more(struct sending *s)
{
    struct source_item item;
    int r, status;

    while (!s->asked_all && !s->talk.in_ended && !is_cut(s) && !is_full(s)) {
        r = source_next(&s->source, &item);
        if (r < 0)
            return say_bad_message(s, r);
        if (s->got + s->lost >= s->sent)
            s->since_ns = clock_ns();
        if (r == 0) {
            s->asked_all = !source_wants_input(&s->source);
            break;
        }
        status = ask(s, &item);
        if (status)
            return status;
    }
    if (s->asked_all)
        talk_end(&s->talk);
    return 0;
}

static bool is_done(const struct sending *s)
{
    if (is_uncounted(s))
        return false; /* the end of the connection decides */
    return s->asked_all && s->talk.out.len == 0 && s->got + s->lost >= s->sent;
}

/* Prints the replies that are there. */
static int take_replies(struct sending *s)
{
    char framing[FRAME_TEXT_MAX], text[TARGET_TEXT_MAX];
    enum frame_result result = FRAME_MORE;
    struct frame_message m;

    while (!is_done(s) && (result = talk_next(&s->talk, &m)) == FRAME_MESSAGE) {
        if (s->target.framing.kind == FRAME_CLOSE && !s->talk.datagrams)
            print_piece(&s->print, talk_data(&s->talk, &m), m.len);
        else
            print_reply(&s->print, talk_data(&s->talk, &m), m.len);
        talk_drop(&s->talk, &m);
        s->got++;
    }
    if (print_flush())
        return EXIT_REFUSED;
    if (is_done(s) || result == FRAME_MORE || result == FRAME_MESSAGE)
        return 0;
    if (result == FRAME_MALFORMED && s->talk.in_ended)
        say("the connection to %s ended inside a reply", target_print(text, &s->target));
    else
        say("the reply of %s is no message of framing %s", target_print(text, &s->target),
            frame_print(framing, &s->target.framing));
    return EXIT_REFUSED;
}

/* Waits for the connection and the input, and does what is possible. 0, -ETIMEDOUT, or -errno. */
static int work(struct sending *s)
{
    struct pollfd wait[2] = { { .fd = s->talk.fd, .events = talk_events(&s->talk) }, { .fd = -1 } };
    bool is_awaited = s->asked_all || s->talk.out.len > 0 || s->got + s->lost < s->sent || is_cut(s);
    uint64_t moved = s->talk.n_in + s->talk.n_out;
    int n, r = 0;

    if (source_wants_input(&s->source) && !is_full(s) && !is_cut(s))
        wait[1] = (struct pollfd){ .fd = s->source.fd, .events = POLLIN };
    n = poll(wait, 2, is_awaited ? clock_left_ms(s->since_ns, s->target.timeout_ms) : -1);
    if (n <= 0)
        return n == 0 ? -ETIMEDOUT : errno == EINTR ? 0 : -errno;
    if (wait[0].revents)
        r = talk_work(&s->talk, wait[0].revents);
    if (r == 0 && wait[1].revents) {
        r = source_read(&s->source);
        s->unread = r < 0 ? -r : 0;
    }
    if (s->talk.n_in + s->talk.n_out != moved)
        s->since_ns = clock_ns();
    return r;
}

/* The words for a reply that is missing. */
static int say_silence(struct sending *s)
{
    char text[TARGET_TEXT_MAX], span[TEXT_NUMBER_MAX];

    text_print_time(span, s->target.timeout_ms);
    if (is_uncounted(s))
        say("%s was silent for %s", target_print(text, &s->target), span);
    else
        say("no reply from %s within %s (%llu of %llu replies came)", target_print(text, &s->target), span,
            (unsigned long long)s->got, (unsigned long long)s->sent);
    return EXIT_REFUSED;
}

/* The connection ended: was that all? */
static int judge_end(struct sending *s)
{
    char text[TARGET_TEXT_MAX];
    const char *why = s->talk.error ? strerror(s->talk.error) : "";
    const char *colon = s->talk.error ? ": " : "";

    if (s->target.framing.kind == FRAME_CLOSE && !s->talk.datagrams)
        print_end(&s->print);
    if (print_flush())
        return EXIT_REFUSED;
    if (is_uncounted(s) && s->asked_all && !s->talk.error)
        return EXIT_WELL;
    target_print(text, &s->target);
    if (s->talk.datagrams)
        say("cannot reach %s%s%s", text, colon, why);
    else if (is_uncounted(s))
        say("the connection to %s ended before all was said%s%s", text, colon, why);
    else
        say("%s ended the connection after %llu of %llu replies%s%s", text, (unsigned long long)s->got,
            (unsigned long long)s->sent, colon, why);
    return EXIT_REFUSED;
}

static int say_failure(const struct sending *s, int error)
{
    if (s->unread)
        say("cannot read %s: %s", s->input, strerror(s->unread));
    else
        say("cannot go on: %s", strerror(-error));
    return EXIT_REFUSED;
}

static int converse(struct sending *s)
{
    int status, r;

    for (;;) {
        status = take_replies(s);
        if (status == 0)
            status = ask_more(s);
        if (status)
            return status;
        if (is_done(s))
            return s->lost > 0 ? EXIT_REFUSED : EXIT_WELL;
        if (s->talk.in_ended)
            return judge_end(s);
        r = work(s);
        if (r == -ETIMEDOUT) {
            status = say_silence(s);
            if (!s->talk.datagrams)
                return status;
            s->lost++;
        } else if (r < 0) {
            return say_failure(s, r);
        }
    }
}

int send_run(struct options *o)
{
    struct sending s = { .talk.fd = -1, .source.fd = -1 };
    int status = target_init(&s.target, o);

    if (status)
        return status;
    status = o->n_words ? open_words(&s, o) : open_input(&s, o);
    if (status == 0) {
        print_init(&s.print, o, &s.target);
        status = EXIT_REFUSED;
        if (talk_open(&s.talk, &s.target) == 0) {
            s.since_ns = clock_ns();
            status = converse(&s);
        }
        talk_close(&s.talk);
    }
    source_done(&s.source);
    if (s.source.fd > STDIN_FILENO)
        fd_close(&s.source.fd);
    return status;
}
