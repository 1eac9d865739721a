/*
 * A configuration out of a command line. It is written as a text and loaded like any other, so that every
 * check and every default is the same.
 */
#include "oneliner.h"

#include "base/text.h"
#include "conf_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "command line"

static void write_key(FILE *out, const char *key, const char *text)
{
    fprintf(out, "%s = ", key);
    conf_text_print(text, out);
    fputs(";\n", out);
}

static void write_environment(FILE *out)
{
    const char *comma = "";

    fputs("environment = [ ", out);
    for (char **it = environ; it && *it; it++) {
        size_t len = conf_text_variable(*it);
        if (len == 0 || conf_text_is_private(*it))
            continue;
        fprintf(out, "%s\"%.*s\"", comma, (int)len, *it);
        comma = ", ";
    }
    fputs(" ];\n", out);
}

static void write_command(FILE *out, char **command)
{
    fputs("command = [ ", out);
    for (char **it = command; *it; it++) {
        fputs(it == command ? "" : ", ", out);
        conf_text_print(*it, out);
    }
    fputs(" ];\n", out);
}

static void write_service(FILE *out, const struct oneliner *o, const char *directory)
{
    fputs("workers = 1;\nservices: { command: {\n", out);
    write_key(out, "port", o->port);
    if (o->host)
        write_key(out, "host", o->host);
    if (o->framing)
        write_key(out, "framing", o->framing);
    write_key(out, "handler", o->program ? "program" : "helper");
    if (o->helpers)
        fprintf(out, "helpers = %s;\n", o->helpers);
    write_key(out, "directory", directory);
    write_environment(out);
    write_command(out, o->command);
    fputs("}; };\n", out);
}

/* The text that was made of the command line is seen by nobody, so a complaint names the key alone. */
static void retell(const struct complaints *from, struct complaints *to)
{
    for (const struct complaint *it = from->first; it; it = it->next) {
        int place = 0;

        sscanf(it->text, NAME ":%*d: services.command.%n", &place);
        complaints_add(to, complaint_is_fatal(it), "%s%s", place ? NAME ": " : "", it->text + place);
    }
}

static int load_text(const char *text, size_t len, struct complaints *complaints, struct conf **ret)
{
    struct complaints own;

    complaints_init(&own);
    int r = conf_load_text(NAME, text, len, &own, ret);
    retell(&own, complaints);
    complaints_done(&own);
    return r;
}

int oneliner_load(const struct oneliner *o, struct complaints *complaints, struct conf **ret)
{
    char *directory = getcwd(NULL, 0), *text = NULL;
    int64_t helpers;
    size_t len = 0;
    FILE *out = directory ? open_memstream(&text, &len) : NULL;
    int r = -ENOMEM;

    if (!directory) {
        complaints_add(complaints, true, "the working directory: %s", strerror(errno));
    } else if (o->helpers && text_parse_int(o->helpers, 0, INT32_MAX, &helpers) < 0) {
        complaints_add(complaints, true, "--helpers: \"%.40s\" is no number", o->helpers);
        r = -EINVAL;
    } else if (out) {
        write_service(out, o, directory);
        if (fflush(out) == 0)
            r = load_text(text, len, complaints, ret);
    }
    if (out)
        fclose(out);
    free(text);
    free(directory);
    return r;
}

char *oneliner_greeting(const struct oneliner *o)
{
    const char *framing = o->framing ? o->framing : "line", *host = o->host ? o->host : "localhost";
    bool plain = !o->program && strcmp(framing, "line") == 0, v6 = strchr(host, ':');
    bool local = strcmp(host, "localhost") == 0 || strcmp(host, "*") == 0 || !*host;
    char *text = NULL;

    if (asprintf(&text, "listening on %s%s%s:%s (%s); try: sockctl%s%s -p %s%s%s send hello", v6 ? "[" : "",
                 *host ? host : "*", v6 ? "]" : "", o->port, o->program ? "program" : framing,
                 local ? "" : " -H ", local ? "" : host, o->port, plain ? "" : " -F ",
                 plain        ? ""
                 : o->program ? "close"
                              : framing) < 0)
        return NULL;
    return text;
}
