/*
 * The types of text: host names, paths, groups, framings, replies. Pure. What is printed is quoted as
 * libconfig reads it, so that it loads again to the same bytes.
 */
#include "conf_text.h"

#include "base/text.h"
#include "conf_key.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

char *conf_text_quote(char buf[CONF_QUOTED_MAX], const char *text)
{
    size_t len;

    buf[0] = '"';
    len = text_escape(buf + 1, CONF_QUOTED_MAX - 2, text, strlen(text));
    memcpy(buf + 1 + len, "\"", 2);
    return buf;
}

int conf_text_fault(struct conf_fault *ret_why, const struct conf_node *node, const char *format, ...)
{
    va_list args;

    ret_why->line = node->line;
    ret_why->node = node;
    va_start(args, format);
    vsnprintf(ret_why->text, sizeof(ret_why->text), format, args);
    va_end(args);
    return -EINVAL;
}

size_t conf_text_items(const struct conf_node *node)
{
    return node->kind == NODE_LIST ? node->len : 1;
}

const struct conf_node *conf_text_item(const struct conf_node *node, size_t i)
{
    return node->kind == NODE_LIST ? &node->item[i] : node;
}

int conf_text_wrong_type(const struct conf_key *key, const struct conf_node *node, struct conf_fault *why)
{
    return conf_text_fault(why, node, "expects %s (%s)", key->type->expects, key->help);
}

void conf_text_print(const char *text, FILE *out)
{
    fputc('"', out);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fprintf(out, "\\%c", *text);
        else if (iscntrl((unsigned char)*text))
            fprintf(out, "\\x%02x", (unsigned char)*text);
        else
            fputc(*text, out);
    }
    fputc('"', out);
}

static int set_string(void *field, const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        return -ENOMEM;
    *(char **)field = copy;
    return 0;
}

static void print_string(const struct conf_key *key, const void *field, FILE *out)
{
    const char *text = *(char *const *)field;

    (void)key;
    conf_text_print(text ? text : "", out);
}

static void done_string(void *field)
{
    free(*(char **)field);
}

static int parse_path(const struct conf_key *key, const struct conf_node *node, void *field,
                      struct conf_fault *why)
{
    const struct sockaddr_un *sun = NULL;
    char quoted[CONF_QUOTED_MAX];
    const char *text = node->text;

    if (node->kind != NODE_STRING)
        return conf_text_wrong_type(key, node, why);
    if ((text[0] != '/' && text[0] != '@') || !text[1])
        return conf_text_fault(why, node,
                               "%s is no path; it must begin with \"/\", or with \"@\" for a name in"
                               " the abstract name space",
                               conf_text_quote(quoted, text));
    if (strlen(text) >= sizeof(sun->sun_path))
        return conf_text_fault(why, node, "%s has %zu bytes; the path of a socket has at most %zu",
                               conf_text_quote(quoted, text), strlen(text), sizeof(sun->sun_path) - 1);
    return set_string(field, text);
}

static int parse_group(const struct conf_key *key, const struct conf_node *node, void *field,
                       struct conf_fault *why)
{
    if (node->kind != NODE_STRING)
        return conf_text_wrong_type(key, node, why);
    return node->text[0] ? set_string(field, node->text) : 0;
}

/* NULL when TEXT may be a name or an address. */
static const char *host_fault(const char *text)
{
    struct in6_addr in6;
    char bare[INET6_ADDRSTRLEN + 1];
    size_t len = strcspn(text, "%");

    if (text[0] == '[')
        return "is no host; write an IPv6 address without brackets";
    if (strlen(text) > 255)
        return "is longer than any host name";
    for (const char *p = text; *p; p++)
        if (isspace((unsigned char)*p) || iscntrl((unsigned char)*p) || strchr("/,\"", *p))
            return "is no host; write several as a list: [ \"one\", \"two\" ]";
    if (!strchr(text, ':'))
        return NULL;
    snprintf(bare, sizeof(bare), "%.*s", (int)(len < INET6_ADDRSTRLEN ? len : INET6_ADDRSTRLEN), text);
    return inet_pton(AF_INET6, bare, &in6) == 1 ? NULL : "is no host; the port has a key of its own";
}

static void done_words(void *field)
{
    struct words *words = field;

    for (size_t i = 0; i < words->len; i++)
        free(words->item[i]);
    free(words->item);
}

static int check_host(const struct conf_key *key, const struct conf_node *item, struct conf_fault *why)
{
    char quoted[CONF_QUOTED_MAX];
    const char *fault;

    if (item->kind != NODE_STRING)
        return conf_text_wrong_type(key, item, why);
    fault = host_fault(item->text);
    return fault ? conf_text_fault(why, item, "%s %s", conf_text_quote(quoted, item->text), fault) : 0;
}

/* A list of words, or one; each must pass CHECK. */
static int parse_words(const struct conf_key *key, const struct conf_node *node, void *field,
                       struct conf_fault *why,
                       int (*check)(const struct conf_key *, const struct conf_node *, struct conf_fault *))
{
    size_t n = conf_text_items(node);
    struct words words;

    for (size_t i = 0; i < n; i++) {
        int r = check(key, conf_text_item(node, i), why);
        if (r < 0)
            return r;
    }
    words = (struct words){ .item = calloc(n + 1, sizeof(*words.item)) };
    if (!words.item)
        return -ENOMEM;
    for (; words.len < n; words.len++) {
        words.item[words.len] = strdup(conf_text_item(node, words.len)->text);
        if (!words.item[words.len]) {
            done_words(&words);
            return -ENOMEM;
        }
    }
    *(struct words *)field = words;
    return 0;
}

static int parse_hosts(const struct conf_key *key, const struct conf_node *node, void *field,
                       struct conf_fault *why)
{
    if (conf_text_items(node) == 0)
        return conf_text_wrong_type(key, node, why);
    return parse_words(key, node, field, why, check_host);
}

static int check_argument(const struct conf_key *key, const struct conf_node *item, struct conf_fault *why)
{
    return item->kind == NODE_STRING ? 0 : conf_text_wrong_type(key, item, why);
}

static int parse_command(const struct conf_key *key, const struct conf_node *node, void *field,
                         struct conf_fault *why)
{
    if (conf_text_items(node) == 0)
        return conf_text_wrong_type(key, node, why);
    const struct conf_node *first = conf_text_item(node, 0);
    if (first->kind == NODE_STRING && !first->text[0])
        return conf_text_fault(why, node, "is empty; it must be a command, as in [ \"/bin/cat\" ]");
    if (node->kind == NODE_STRING && strchr(node->text, ' '))
        return conf_text_fault(why, node, "is one word, and no shell splits it; write [ \"one\", \"two\" ]");
    return parse_words(key, node, field, why, check_argument);
}

size_t conf_text_variable(const char *text)
{
    size_t len = strcspn(text, "=");

    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_')
            return 0;
    return isdigit((unsigned char)text[0]) ? 0 : len;
}

bool conf_text_is_private(const char *text)
{
    static const char *const names[] = { "FDSTORE",        "JOURNAL_STREAM", "LISTEN_FDS",
                                         "LISTEN_FDNAMES", "LISTEN_PID",     "LISTEN_PIDFDID",
                                         "NOTIFY_SOCKET",  "WATCHDOG_PID",   "WATCHDOG_USEC" };
    size_t len = strcspn(text, "=");

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == len && strncmp(text, names[i], len) == 0)
            return true;
    return false;
}

static int check_variable(const struct conf_key *key, const struct conf_node *item, struct conf_fault *why)
{
    char quoted[CONF_QUOTED_MAX];

    if (item->kind != NODE_STRING)
        return conf_text_wrong_type(key, item, why);
    size_t len = conf_text_variable(item->text);
    if (len == 0)
        return conf_text_fault(why, item, "%s does not begin with the name of a variable",
                               conf_text_quote(quoted, item->text));
    if (conf_text_is_private(item->text))
        return conf_text_fault(why, item, "%.*s is about sockd itself, and never handed on", (int)len,
                               item->text);
    return 0;
}

static int parse_environment(const struct conf_key *key, const struct conf_node *node, void *field,
                             struct conf_fault *why)
{
    return parse_words(key, node, field, why, check_variable);
}

static void print_words(const struct conf_key *key, const void *field, FILE *out)
{
    const struct words *words = field;

    (void)key;
    fputs("[ ", out);
    for (size_t i = 0; i < words->len; i++) {
        conf_text_print(words->item[i], out);
        fputs(i + 1 < words->len ? ", " : " ", out);
    }
    fputs("]", out);
}

/* One word stands alone. */
static void print_hosts(const struct conf_key *key, const void *field, FILE *out)
{
    const struct words *words = field;

    if (words->len == 1)
        conf_text_print(words->item[0], out);
    else
        print_words(key, field, out);
}

/* An absolute path; WHAT it should be, as in "is no directory". */
static int parse_absolute(const struct conf_key *key, const struct conf_node *node, void *field,
                          const char *what, struct conf_fault *why)
{
    char quoted[CONF_QUOTED_MAX];

    if (node->kind != NODE_STRING)
        return conf_text_wrong_type(key, node, why);
    if (node->text[0] != '/')
        return conf_text_fault(why, node, "%s is no %s; it must begin with \"/\"",
                               conf_text_quote(quoted, node->text), what);
    return set_string(field, node->text);
}

static int parse_directory(const struct conf_key *key, const struct conf_node *node, void *field,
                           struct conf_fault *why)
{
    return parse_absolute(key, node, field, "directory", why);
}

static int parse_plugin(const struct conf_key *key, const struct conf_node *node, void *field,
                        struct conf_fault *why)
{
    return parse_absolute(key, node, field, "plug-in", why);
}

static int parse_string(const struct conf_key *key, const struct conf_node *node, void *field,
                        struct conf_fault *why)
{
    if (node->kind != NODE_STRING)
        return conf_text_wrong_type(key, node, why);
    return set_string(field, node->text);
}

static int parse_framing(const struct conf_key *key, const struct conf_node *node, void *field,
                         struct conf_fault *why)
{
    char quoted[CONF_QUOTED_MAX];
    const char *reason = NULL;
    struct framing framing;
    int r;

    if (node->kind != NODE_STRING)
        return conf_text_wrong_type(key, node, why);
    r = frame_parse(node->text, &framing, &reason);
    if (r < 0)
        return conf_text_fault(why, node, "%s %s", conf_text_quote(quoted, node->text), reason);
    *(struct framing *)field = framing;
    return 0;
}

static void print_framing(const struct conf_key *key, const void *field, FILE *out)
{
    char buf[FRAME_TEXT_MAX];

    (void)key;
    conf_text_print(frame_print(buf, field), out);
}

static int parse_helper_framing(const struct conf_key *key, const struct conf_node *node, void *field,
                                struct conf_fault *why)
{
    struct helper_framing *framing = field;

    if (node->kind == NODE_STRING && !node->text[0])
        return 0;
    int r = parse_framing(key, node, &framing->is, why);
    framing->said = r == 0;
    if (r < 0 || framing->is.kind != FRAME_CLOSE)
        return r;
    *framing = (struct helper_framing){ .said = false };
    return conf_text_fault(why, node, "\"close\" is one message in all; a helper answers many");
}

static void print_helper_framing(const struct conf_key *key, const void *field, FILE *out)
{
    const struct helper_framing *framing = field;

    if (framing->said)
        print_framing(key, &framing->is, out);
    else
        fputs("\"\"", out);
}

static int parse_bytes(const struct conf_key *key, const struct conf_node *node, void *field,
                       struct conf_fault *why)
{
    char quoted[CONF_QUOTED_MAX], *data;
    int len;

    if (node->kind != NODE_STRING)
        return conf_text_wrong_type(key, node, why);
    if (!node->text[0])
        return 0;
    data = malloc(strlen(node->text));
    if (!data)
        return -ENOMEM;
    len = text_unescape(node->text, data);
    if (len < 0) {
        free(data);
        return conf_text_fault(why, node, "%s has an unknown escape; a backslash itself is written \\\\\\\\",
                               conf_text_quote(quoted, node->text));
    }
    *(struct bytes *)field = (struct bytes){ data, (size_t)len };
    return 0;
}

static void print_bytes(const struct conf_key *key, const void *field, FILE *out)
{
    const struct bytes *bytes = field;
    size_t size = 4 * bytes->len + 1;
    char *text = malloc(size);

    (void)key;
    if (text) {
        text_escape(text, size, bytes->data, bytes->len);
        conf_text_print(text, out);
    }
    free(text);
}

static void done_bytes(void *field)
{
    free(((struct bytes *)field)->data);
}

const struct conf_type conf_type_path = { "a path in quotes, such as \"/run/name.sock\"", parse_path,
                                          print_string, done_string };
const struct conf_type conf_type_group = { "the name of a group in quotes, such as \"adm\"", parse_group,
                                           print_string, done_string };
const struct conf_type conf_type_hosts = { "a host or a list of hosts, such as [ \"127.0.0.1\", \"::1\" ]",
                                           parse_hosts, print_hosts, done_words };
const struct conf_type conf_type_framing = { "a framing in quotes, such as \"line\"", parse_framing,
                                             print_framing, NULL };
const struct conf_type conf_type_helper_framing = { "a framing in quotes, such as \"line\"",
                                                    parse_helper_framing, print_helper_framing, NULL };
const struct conf_type conf_type_command = { "a command as a list of words, such as [ \"/bin/cat\", \"-u\" ]",
                                             parse_command, print_words, done_words };
const struct conf_type conf_type_directory = { "a directory in quotes, such as \"/var/lib/name\"",
                                               parse_directory, print_string, done_string };
const struct conf_type conf_type_plugin = { "a shared object in quotes, such as \"/usr/lib/name.so\"",
                                            parse_plugin, print_string, done_string };
const struct conf_type conf_type_string = { "text in quotes", parse_string, print_string, done_string };
const struct conf_type conf_type_environment = {
    "a variable or a list of variables, such as [ \"NAME=value\", \"LANG\" ]", parse_environment, print_words,
    done_words
};
const struct conf_type conf_type_bytes = { "text in quotes, such as \"busy\\n\"", parse_bytes, print_bytes,
                                           done_bytes };
