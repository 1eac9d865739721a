/*
 * The types of numbers, words and addresses; conf_text.c has those of text. Pure but for the names of ports,
 * which are looked up in /etc/services. Nothing is bound, connected or logged.
 */
#include "conf_value.h"

#include "base/log.h"
#include "base/text.h"
#include "conf_key.h"
#include "conf_text.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

static int parse_bool(const struct conf_key *key, const struct conf_node *node, void *field,
                      struct conf_fault *why)
{
    if (node->kind != NODE_BOOL)
        return conf_text_wrong_type(key, node, why);
    *(bool *)field = node->number;
    return 0;
}

static void print_bool(const struct conf_key *key, const void *field, FILE *out)
{
    (void)key;
    fputs(*(const bool *)field ? "true" : "false", out);
}

/* Says that a value is out of bounds, all as text in the unit of its type. */
static int outside(const struct conf_key *key, const struct conf_node *node, struct conf_fault *why,
                   bool small, const char *bound)
{
    return conf_text_fault(why, node, "is too %s; the %s is %s%s%s (%s)", small ? "small" : "large",
                           small ? "least" : "most", bound, key->unit ? " " : "", key->unit ? key->unit : "",
                           key->help);
}

static int parse_int(const struct conf_key *key, const struct conf_node *node, void *field,
                     struct conf_fault *why)
{
    char bound[TEXT_NUMBER_MAX];
    bool small;

    if (node->kind != NODE_INT)
        return conf_text_wrong_type(key, node, why);
    small = node->number < key->lo;
    if (small || node->number > key->hi) {
        snprintf(bound, sizeof(bound), "%" PRId64, small ? key->lo : key->hi);
        return outside(key, node, why, small, bound);
    }
    *(int64_t *)field = node->number;
    return 0;
}

static void print_int(const struct conf_key *key, const void *field, FILE *out)
{
    (void)key;
    fprintf(out, "%" PRId64, *(const int64_t *)field);
}

/* A time or a size: text with a unit, or a plain number of what SCALE of the smallest unit are. */
static int parse_amount(const struct conf_key *key, const struct conf_node *node, uint64_t *ret,
                        struct conf_fault *why, int (*parse)(const char *, uint64_t *), unsigned scale,
                        char *(*print)(char *, uint64_t))
{
    char bound[TEXT_NUMBER_MAX];
    uint64_t value = 0;
    int r = 0;

    if (node->kind == NODE_STRING)
        r = parse(node->text, &value);
    else if (node->kind == NODE_INT && node->number >= 0)
        r = __builtin_mul_overflow((uint64_t)node->number, scale, &value) ? -ERANGE : 0;
    else
        r = -EINVAL;
    if (r == -EINVAL)
        return conf_text_wrong_type(key, node, why);
    if (r == 0 && value < (uint64_t)key->lo)
        return outside(key, node, why, true, print(bound, (uint64_t)key->lo));
    if (r < 0 || value > (uint64_t)key->hi)
        return outside(key, node, why, false, print(bound, (uint64_t)key->hi));
    *ret = value;
    return 0;
}

static int parse_time(const struct conf_key *key, const struct conf_node *node, void *field,
                      struct conf_fault *why)
{
    return parse_amount(key, node, field, why, text_parse_time, 1000, text_print_time);
}

static int parse_size(const struct conf_key *key, const struct conf_node *node, void *field,
                      struct conf_fault *why)
{
    return parse_amount(key, node, field, why, text_parse_size, 1, text_print_size);
}

/* Always text, since a plain number of more than 32 bits would be cut; but 0 says "none" best bare. */
static void print_amount(const char *text, FILE *out)
{
    fprintf(out, strcmp(text, "0") == 0 ? "%s" : "\"%s\"", text);
}

static void print_time(const struct conf_key *key, const void *field, FILE *out)
{
    char buf[TEXT_NUMBER_MAX];

    (void)key;
    print_amount(text_print_time(buf, *(const uint64_t *)field), out);
}

static void print_size(const struct conf_key *key, const void *field, FILE *out)
{
    char buf[TEXT_NUMBER_MAX];

    (void)key;
    print_amount(text_print_size(buf, *(const uint64_t *)field), out);
}

/* The index in WORDS, or -EINVAL. */
static int find_word(const struct conf_node *node, const char *const *words, struct conf_fault *why)
{
    char list[160] = "", quoted[CONF_QUOTED_MAX];
    const char *near;
    size_t len = 0;

    for (int i = 0; words[i]; i++) {
        if (!words[i][0])
            continue; /* HANDLER_NONE is not said */
        if (strcmp(words[i], node->text) == 0)
            return i;
        if (len < sizeof(list))
            len += (size_t)snprintf(list + len, sizeof(list) - len, "%s\"%s\"", len ? ", " : "", words[i]);
    }
    near = text_suggest(node->text, words);
    conf_text_quote(quoted, node->text);
    if (near && near[0])
        return conf_text_fault(why, node, "%s is none of %s; did you mean \"%s\"?", quoted, list, near);
    return conf_text_fault(why, node, "%s is none of %s", quoted, list);
}

static int parse_word(const struct conf_key *key, const struct conf_node *node, void *field,
                      struct conf_fault *why)
{
    int i;

    if (node->kind != NODE_STRING)
        return conf_text_wrong_type(key, node, why);
    i = find_word(node, key->words, why);
    if (i < 0)
        return i;
    *(int *)field = i;
    return 0;
}

static void print_word(const struct conf_key *key, const void *field, FILE *out)
{
    fprintf(out, "\"%s\"", key->words[*(const int *)field]);
}

static int parse_level(const struct conf_key *key, const struct conf_node *node, void *field,
                       struct conf_fault *why)
{
    int i;

    if (node->kind != NODE_STRING)
        return conf_text_wrong_type(key, node, why);
    i = find_word(node, log_level_words, why);
    if (i < 0)
        return i;
    *(int *)field = log_parse_level(log_level_words[i]);
    return 0;
}

static void print_level(const struct conf_key *key, const void *field, FILE *out)
{
    (void)key;
    fprintf(out, "\"%s\"", log_level_word(*(const int *)field));
}

static int parse_transport(const struct conf_key *key, const struct conf_node *node, void *field,
                           struct conf_fault *why)
{
    uint32_t bits = 0;

    if (conf_text_items(node) == 0)
        return conf_text_wrong_type(key, node, why);
    for (size_t i = 0; i < conf_text_items(node); i++) {
        const struct conf_node *item = conf_text_item(node, i);
        int word;

        if (item->kind != NODE_STRING)
            return conf_text_wrong_type(key, item, why);
        word = find_word(item, key->words, why);
        if (word < 0)
            return word;
        if (bits & 1u << word)
            return conf_text_fault(why, item, "\"%s\" is written twice", item->text);
        bits |= 1u << word;
    }
    *(uint32_t *)field = bits;
    return 0;
}

static void print_transport(const struct conf_key *key, const void *field, FILE *out)
{
    uint32_t bits = *(const uint32_t *)field;
    bool many = bits & (bits - 1);
    const char *comma = "";

    fputs(many ? "[ " : "", out);
    for (int i = 0; key->words[i]; i++) {
        if (!(bits & 1u << i))
            continue;
        fprintf(out, "%s\"%s\"", comma, key->words[i]);
        comma = ", ";
    }
    fputs(many ? " ]" : "", out);
}

/* The port of a name of services(5), of whatever transport; 0: none. */
static int64_t find_port(const char *name)
{
    struct servent *found = getservbyname(name, NULL);

    return found ? ntohs((uint16_t)found->s_port) : 0;
}

static int parse_port(const struct conf_key *key, const struct conf_node *node, void *field,
                      struct conf_fault *why)
{
    char quoted[CONF_QUOTED_MAX];
    int64_t port;

    if (node->kind != NODE_STRING && node->kind != NODE_INT)
        return conf_text_wrong_type(key, node, why);
    if (node->kind == NODE_INT) {
        port = node->number;
    } else if (text_parse_int(node->text, INT64_MIN, INT64_MAX, &port) < 0) {
        port = find_port(node->text);
        if (port == 0)
            return conf_text_fault(why, node,
                                   "%s is no port; it must be a number, or a name in /etc/services",
                                   conf_text_quote(quoted, node->text));
    }
    if (port < key->lo || port > key->hi)
        return conf_text_fault(why, node, "%" PRId64 " is no port; ports are %" PRId64 " to %" PRId64, port,
                               key->lo, key->hi);
    *(uint32_t *)field = (uint32_t)port;
    return 0;
}

static void print_port(const struct conf_key *key, const void *field, FILE *out)
{
    (void)key;
    fprintf(out, "%" PRIu32, *(const uint32_t *)field);
}

static int parse_mode(const struct conf_key *key, const struct conf_node *node, void *field,
                      struct conf_fault *why)
{
    char quoted[CONF_QUOTED_MAX];
    const char *text = node->text;

    if (node->kind != NODE_STRING)
        return conf_text_wrong_type(key, node, why);
    text += strlen(text) == 4 && *text == '0';
    if (strlen(text) != 3 || strspn(text, "01234567") != 3)
        return conf_text_fault(why, node,
                               "%s is no mode; it must be three octal digits, as in \"660\" or \"0660\"",
                               conf_text_quote(quoted, node->text));
    *(uint32_t *)field = (uint32_t)strtoul(text, NULL, 8);
    return 0;
}

static void print_mode(const struct conf_key *key, const void *field, FILE *out)
{
    (void)key;
    fprintf(out, "\"%04" PRIo32 "\"", *(const uint32_t *)field);
}

static const char *net_fault(const char *text, int r)
{
    switch (r) {
    case -ERANGE:
        return strchr(text, ':') ? "; the prefix must be 0 to 128" : "; the prefix must be 0 to 32";
    case -EDOM:
        return "; bits behind the prefix must be zero";
    default:
        return "";
    }
}

static int parse_nets(const struct conf_key *key, const struct conf_node *node, void *field,
                      struct conf_fault *why)
{
    struct nets nets = { .item = calloc(conf_text_items(node) + 1, sizeof(*nets.item)) };
    char quoted[CONF_QUOTED_MAX];
    int r = nets.item ? 0 : -ENOMEM;

    for (; r == 0 && nets.len < conf_text_items(node); nets.len++) {
        const struct conf_node *item = conf_text_item(node, nets.len);

        if (item->kind != NODE_STRING)
            r = conf_text_wrong_type(key, item, why);
        else if ((r = net_parse(item->text, &nets.item[nets.len])) < 0)
            r = conf_text_fault(why, item, "%s is no address and no network%s",
                                conf_text_quote(quoted, item->text), net_fault(item->text, r));
    }
    if (r < 0)
        free(nets.item);
    else
        *(struct nets *)field = nets;
    return r;
}

static void print_nets(const struct conf_key *key, const void *field, FILE *out)
{
    const struct nets *nets = field;
    char buf[ADDR_TEXT_MAX];

    (void)key;
    fputs("[ ", out);
    for (size_t i = 0; i < nets->len; i++)
        fprintf(out, "\"%s\"%s", net_print(buf, &nets->item[i]), i + 1 < nets->len ? ", " : " ");
    fputs("]", out);
}

static void done_nets(void *field)
{
    free(((struct nets *)field)->item);
}

const struct conf_type conf_type_bool = { "true or false", parse_bool, print_bool, NULL };
const struct conf_type conf_type_int = { "a whole number, such as 100", parse_int, print_int, NULL };
const struct conf_type conf_type_time = {
    "a time, such as \"250ms\", \"30s\", \"5m\", or a number of seconds", parse_time, print_time, NULL
};
const struct conf_type conf_type_size = { "a size, such as \"64k\", \"1m\", or a number of bytes", parse_size,
                                          print_size, NULL };
const struct conf_type conf_type_word = { "a word in quotes", parse_word, print_word, NULL };
const struct conf_type conf_type_level = { "a word in quotes, such as \"info\"", parse_level, print_level,
                                           NULL };
const struct conf_type conf_type_transport = { "a word or a list of words, such as [ \"udp\", \"tcp\" ]",
                                               parse_transport, print_transport, NULL };
const struct conf_type conf_type_port = { "a number, or a name in quotes, such as \"domain\"", parse_port,
                                          print_port, NULL };
const struct conf_type conf_type_mode = { "octal digits in quotes, such as \"0660\"", parse_mode, print_mode,
                                          NULL };
const struct conf_type conf_type_nets = { "a list of addresses and networks, such as [ \"192.0.2.0/24\" ]",
                                          parse_nets, print_nets, done_nets };
