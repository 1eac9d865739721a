/*
 * From text to a tree of values, through libconfig, which no other file knows. Pure: the text was read by
 * somebody else, and @include is refused before libconfig sees it. What libconfig would cut or lose without a
 * word is refused by conf_scan().
 */
#include "conf_node.h"

#include "base/list.h"

#include <errno.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1 /* which gcc says by itself */
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
/* libconfig 1.5 loses the string that it was reading when it meets a syntax error: some bytes each time. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig";
}
#endif

struct tree {
    config_t config; /* owns the names and texts that the nodes point to */
    struct conf_node root;
    struct conf_node *rest; /* owns all other nodes */
};

static unsigned children(const config_setting_t *setting)
{
    int n = config_setting_is_aggregate(setting) ? config_setting_length(setting) : 0;

    return n > 0 ? (unsigned)n : 0;
}

/* Both go as deep as the text nests, which conf_scan() bounds. */
static size_t count(const config_setting_t *setting)
{
    size_t n = children(setting);

    for (unsigned i = 0; i < children(setting); i++)
        n += count(config_setting_get_elem(setting, i));
    return n;
}

static void fill(struct conf_node *node, const config_setting_t *setting, struct conf_node **next_free)
{
    node->line = (int)config_setting_source_line(setting);
    node->name = config_setting_name(setting);
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_BOOL:
        node->kind = NODE_BOOL;
        node->number = config_setting_get_bool(setting);
        break;
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        node->kind = NODE_INT;
        node->number = config_setting_get_int64(setting);
        break;
    case CONFIG_TYPE_FLOAT:
        node->kind = NODE_FLOAT;
        break;
    case CONFIG_TYPE_STRING:
        node->kind = NODE_STRING;
        node->text = config_setting_get_string(setting);
        break;
    case CONFIG_TYPE_GROUP:
        node->kind = NODE_GROUP;
        break;
    default:
        node->kind = NODE_LIST;
    }
    node->len = children(setting);
    node->item = *next_free;
    *next_free += node->len;
    for (size_t i = 0; i < node->len; i++)
        fill(&node->item[i], config_setting_get_elem(setting, (unsigned)i), next_free);
}

void conf_node_free(struct conf_node *root)
{
    struct tree *tree;

    if (!root)
        return;
    tree = container_of(root, struct tree, root);
    config_destroy(&tree->config);
    free(tree->rest);
    free(tree);
}

struct conf_node *conf_node_find(const struct conf_node *group, const char *name)
{
    if (!group || group->kind != NODE_GROUP)
        return NULL;
    for (size_t i = 0; i < group->len; i++)
        if (strcmp(group->item[i].name, name) == 0)
            return &group->item[i];
    return NULL;
}

/* libconfig tells the line of a name that is there already, but not the name. */
static void say_fault(const config_t *config, const char *whole, struct conf_fault *ret)
{
    const char *text = config_error_text(config);

    if (text && strcmp(text, "duplicate setting name") == 0) {
        if (conf_scan_twice(whole, strlen(whole), ret) == 0)
            return;
        text = "a key or a service is written twice";
    }
    ret->line = config_error_line(config);
    if (text && strcmp(text, "syntax error") == 0 && conf_scan_hint(whole, ret) == 0)
        return;
    snprintf(ret->text, sizeof(ret->text), "%s", text ? text : "syntax error");
}

static int parse(const char *text, struct conf_node **ret, struct conf_fault *ret_fault)
{
    struct tree *tree = calloc(1, sizeof(*tree));
    struct conf_node *next_free;

    if (!tree)
        return -ENOMEM;
    config_init(&tree->config);
    if (config_read_string(&tree->config, text) != CONFIG_TRUE) {
        say_fault(&tree->config, text, ret_fault);
        conf_node_free(&tree->root);
        return -EINVAL;
    }
    tree->rest = calloc(count(config_root_setting(&tree->config)) + 1, sizeof(*tree->rest));
    if (!tree->rest) {
        conf_node_free(&tree->root);
        return -ENOMEM;
    }
    next_free = tree->rest;
    fill(&tree->root, config_root_setting(&tree->config), &next_free);
    *ret = &tree->root;
    return 0;
}

static int count_lines(const char *text, size_t len)
{
    int lines = len == 0 || text[len - 1] != '\n';

    for (size_t i = 0; i < len; i++)
        lines += text[i] == '\n';
    return lines;
}

int conf_node_parse(const char *text, size_t len, struct conf_node **ret, struct conf_fault *ret_fault)
{
    char *copy = malloc(len + 2);
    int r;

    if (!copy)
        return -ENOMEM;
    /* libconfig 1.5 takes a comment at the very end for an error when its line has no end. */
    memcpy(copy, text, len);
    memcpy(copy + len, "\n", 2);
    r = conf_scan(copy, len, ret_fault);
    if (r == 0)
        r = parse(copy, ret, ret_fault);
    if (r == -EINVAL && ret_fault->line > count_lines(text, len))
        ret_fault->line = count_lines(text, len);
    free(copy);
    return r;
}
