/* The commands of sockctl that the daemon carries out; `COMMAND [--json] [ARG...]` is what it is told. */
#include "client/steer.h"

#include "client/ask.h"
#include "client/print.h"
#include "client/say.h"
#include "control.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* 0 or -EMSGSIZE. */
static int make_line(char *line, size_t size, const struct options *o)
{
    size_t len = (size_t)snprintf(line, size, "%s%s", o->command, o->json ? " " CONTROL_JSON : "");

    for (int i = 0; i < o->n_words && len < size; i++)
        len += (size_t)snprintf(line + len, size - len, " %s", o->words[i]);
    return len < size ? 0 : -EMSGSIZE;
}

/* Of STATUS alone has the exit status more to say than that the daemon said no. */
static int say_unanswered(const struct ask *ask, bool is_status)
{
    if (ask->code == EXIT_MISUSED)
        return say_misuse("%s", ask->why);
    say("%s", ask->why);
    return is_status ? ask->code : EXIT_REFUSED;
}

static int print_answer(const struct ask *ask, bool is_status)
{
    FILE *out = ask->code == EXIT_WELL || is_status ? stdout : stderr;
    const char *text = buf_data(&ask->answer);

    if (text && (out == stdout || !ask->options->quiet))
        fwrite(text, 1, ask->answer.len, out);
    int status = print_flush();
    return status ? status : ask->code;
}

static void say_note(const char *text)
{
    say("%s", text);
}

int steer_run(struct options *o)
{
    bool is_status = strcmp(o->command, "status") == 0;
    struct ask ask;
    char line[1024];

    if (make_line(line, sizeof(line), o) < 0)
        return say_misuse("the words after %s are too long", o->command);
    ask_init(&ask, o, o->timeout_ms);
    if (!o->quiet)
        ask.on_note = say_note;
    int status = ask_whole(&ask, line) < 0 ? say_unanswered(&ask, is_status) : print_answer(&ask, is_status);
    ask_done(&ask);
    return status;
}

int steer_wait(struct options *o)
{
    if (!o->timeout_given)
        o->timeout_ms = 0;
    return steer_run(o);
}
