/*
 * sockctl shell: the only file that knows libedit. While a line is being edited the connection is watched as
 * well: what the server says unasked is shown above the line, and its leaving ends the shell.
 */
#include "client/shell.h"

#include "client/clock.h"
#include "client/print.h"
#include "client/say.h"
#include "client/send.h"
#include "client/source.h"
#include "client/talk.h"
#include "client/target.h"

#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 1000

struct shell {
    const struct options *options;
    struct target target;
    struct talk talk;
    struct print print;
    char prompt[TARGET_TEXT_MAX + 2];
    EditLine *edit;
    History *history;
    char history_path[PATH_MAX];
    uint64_t asked, got; /* requests, and replies that were shown */
    bool is_broken;      /* the server does not keep to the framing */
};

/* Makes the directories above PATH that are missing. */
static void make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
}

/* False when there is no place for a history. */
static bool find_history(char *ret, size_t size)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;

    if (state && state[0] == '/')
        n = snprintf(ret, size, "%s/sockctl_history", state);
    else if (home && home[0] == '/')
        n = snprintf(ret, size, "%s/.local/state/sockctl_history", home);
    if (n < 0 || (size_t)n >= size) {
        ret[0] = '\0';
        return false;
    }
    make_parents(ret);
    return true;
}

/* Adds the line to the history of this and later shells. */
static void remember(struct shell *s, const char *line)
{
    HistEvent event;
    int fd;
    FILE *file;

    history(s->history, &event, H_ENTER, line);
    fd = s->history_path[0] ? open(s->history_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    file = fd < 0 ? NULL : fdopen(fd, "a");
    if (file) {
        fseek(file, 0, SEEK_END); /* libedit puts its mark at position 0 */
        history(s->history, &event, H_NSAVE_FP, (size_t)1, file);
        fclose(file);
    } else if (fd >= 0) {
        close(fd);
    }
}

/* Shows the replies that are there; false when the server broke the framing. */
static bool show_replies(struct shell *s)
{
    enum frame_result result;
    struct frame_message m;

    while ((result = talk_next(&s->talk, &m)) == FRAME_MESSAGE) {
        print_reply(&s->print, talk_data(&s->talk, &m), m.len);
        talk_drop(&s->talk, &m);
        s->got++;
    }
    fflush(stdout);
    s->is_broken = result != FRAME_MORE;
    return !s->is_broken;
}

/* The connection has something to say while a line is edited. False when the conversation is over. */
static bool listen_meanwhile(struct shell *s)
{
    struct frame_message m;

    if (talk_wait(&s->talk, 0) < 0)
        return false;
    if (talk_next(&s->talk, &m) == FRAME_MORE)
        return !s->talk.in_ended;
    fputs("\r\033[K", stdout);
    if (!show_replies(s) || s->talk.in_ended)
        return false;
    el_set(s->edit, EL_REFRESH);
    return true;
}

/* Waits for a key, and listens to the server meanwhile. 1, 0 at the end of the conversation, -1 on error. */
static int await_key(struct shell *s)
{
    struct pollfd wait[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = s->talk.fd } };

    for (;;) {
        wait[1].events = talk_events(&s->talk);
        if (poll(wait, 2, -1) < 0) {
            if (errno != EINTR)
                return -1;
            el_set(s->edit, EL_REFRESH);
            continue;
        }
        if (wait[1].revents && !listen_meanwhile(s))
            return 0;
        if (wait[0].revents)
            return 1;
    }
}

/* As libedit wants it: 1 with a character, 0 at the end, -1 on error. */
static int get_character(EditLine *edit, wchar_t *ret)
{
    struct shell *s;
    mbstate_t state = { 0 };
    ssize_t n;
    size_t used;
    char c;
    int r;

    el_get(edit, EL_CLIENTDATA, &s);
    for (;;) {
        r = await_key(s);
        if (r <= 0)
            return r;
        n = read(STDIN_FILENO, &c, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return (int)n;
        if (c == '\0')
            c = 'D' & 31; /* what the terminal makes of a ^D that was typed before the line was edited */
        used = mbrtowc(ret, &c, 1, &state);
        if (used == (size_t)-1)
            state = (mbstate_t){ 0 }; /* no character of this locale: left out */
        else if (used != (size_t)-2)
            return 1;
    }
}

static char *get_prompt(EditLine *edit)
{
    struct shell *s;

    el_get(edit, EL_CLIENTDATA, &s);
    return s->prompt;
}

static bool open_editor(struct shell *s)
{
    HistEvent event;
    char text[TARGET_TEXT_MAX];

    setlocale(LC_CTYPE, "");
    snprintf(s->prompt, sizeof(s->prompt), "%s> ", target_print_short(text, &s->target));
    s->edit = el_init("sockctl", stdin, stdout, stderr);
    s->history = history_init();
    if (!s->edit || !s->history)
        return false;
    history(s->history, &event, H_SETSIZE, HISTORY_LINES);
    history(s->history, &event, H_SETUNIQUE, 1);
    if (find_history(s->history_path, sizeof(s->history_path)))
        history(s->history, &event, H_LOAD, s->history_path);
    el_set(s->edit, EL_CLIENTDATA, s);
    el_set(s->edit, EL_PROMPT, get_prompt);
    el_set(s->edit, EL_EDITOR, "emacs");
    el_set(s->edit, EL_SIGNAL, 1);
    el_set(s->edit, EL_HIST, history, s->history);
    el_set(s->edit, EL_GETCFN, get_character);
    el_set(s->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(s->edit, NULL);
    return true;
}

static void close_editor(struct shell *s)
{
    if (s->edit)
        el_end(s->edit);
    if (s->history)
        history_end(s->history);
}

/* Sends the line. False when it cannot be sent, which was said. */
static bool ask(struct shell *s, const char *line, size_t len)
{
    char framing[FRAME_TEXT_MAX];
    char *made = NULL;
    int n = (int)len, r;

    if (s->options->escapes) {
        n = source_unescape(line, len, &made);
        if (n < 0) {
            say("unknown escape; a backslash itself is \\\\");
            return false;
        }
    }
    r = talk_ask(&s->talk, made ? made : line, (size_t)n, FRAME_END_LF);
    free(made);
    if (r == -EBADMSG)
        say("framing %s cannot carry this", frame_print(framing, &s->target.framing));
    else if (r < 0)
        say("cannot send: %s", strerror(-r));
    else
        s->asked = s->got + 1; /* what came unasked was no reply */
    return r == 0;
}

/* Waits until every request has its reply, or none comes. False when the conversation is over. */
static bool await_replies(struct shell *s)
{
    char span[TEXT_NUMBER_MAX];
    uint64_t start = clock_ns();
    int r;

    for (;;) {
        if (!show_replies(s) || s->talk.in_ended)
            return false;
        if (s->got >= s->asked)
            return true;
        r = talk_wait(&s->talk, clock_left_ms(start, s->target.timeout_ms));
        if (r < 0 && r != -EINTR)
            return false;
        if (r == 0) {
            say("no reply within %s", text_print_time(span, s->target.timeout_ms));
            s->asked = s->got;
            return true;
        }
    }
}

/* One line and its reply. False when the conversation is over. */
static bool take_turn(struct shell *s)
{
    const char *line;
    char *copy;
    int len;
    bool goes_on = true;

    /* Before the prompt is shown: whoever waits for it may type at once. */
    el_set(s->edit, EL_PREP_TERM, 1);
    line = el_gets(s->edit, &len);
    copy = line && len > 0 ? strndup(line, strcspn(line, "\n")) : NULL;
    if (!copy)
        return false;
    if (copy[0])
        remember(s, copy);
    if (ask(s, copy, strlen(copy)))
        goes_on = await_replies(s);
    free(copy);
    return goes_on;
}

static int converse(struct shell *s)
{
    char text[TARGET_TEXT_MAX];

    while (take_turn(s))
        ;
    fputs(s->talk.in_ended || s->is_broken ? "\r\033[K" : "\n", stdout);
    fflush(stdout);
    if (s->is_broken)
        say("the reply is no message of framing %s", frame_print(text, &s->target.framing));
    else if (s->talk.in_ended)
        say("%s ended the connection%s%s", target_print(text, &s->target), s->talk.error ? ": " : "",
            s->talk.error ? strerror(s->talk.error) : "");
    return s->is_broken || s->talk.error || s->got < s->asked ? EXIT_REFUSED : EXIT_WELL;
}

static int run_at_terminal(struct options *o)
{
    struct shell s = { .options = o, .talk.fd = -1 };
    int status = target_init(&s.target, o);

    if (status)
        return status;
    if (s.target.framing.kind == FRAME_CLOSE && !s.target.datagrams)
        return say_misuse("with framing close there is one request a connection; use send or pipe");
    if (talk_open(&s.talk, &s.target) < 0)
        return EXIT_REFUSED;
    print_init(&s.print, o, &s.target);
    if (open_editor(&s)) {
        status = converse(&s);
    } else {
        say("cannot edit lines on this terminal");
        status = EXIT_REFUSED;
    }
    close_editor(&s);
    talk_close(&s.talk);
    return status;
}

int shell_run(struct options *o)
{
    if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        return run_at_terminal(o);
    o->each_line = true;
    return send_run(o);
}
