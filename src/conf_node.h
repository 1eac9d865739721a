/*
 * A parsed configuration file as a tree of values, each with its line. conf_node.c is the one door to
 * libconfig.
 */
#ifndef SOCKD_CONF_NODE_H
#define SOCKD_CONF_NODE_H

#include "conf_scan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum conf_node_kind {
    NODE_BOOL,
    NODE_INT,
    NODE_FLOAT,
    NODE_STRING,
    NODE_LIST, /* a list or an array of libconfig */
    NODE_GROUP,
};

struct conf_node {
    enum conf_node_kind kind;
    int line;
    bool bad;               /* complained of already; as if it were not there */
    const char *name;       /* NULL for an element of a list */
    int64_t number;         /* NODE_BOOL, NODE_INT */
    const char *text;       /* NODE_STRING */
    struct conf_node *item; /* NODE_LIST, NODE_GROUP */
    size_t len;
};

/* 0 and a new tree, a group, for conf_node_free(); -EINVAL and the first fault; -ENOMEM. */
int conf_node_parse(const char *text, size_t len, struct conf_node **ret, struct conf_fault *ret_fault);
/* Frees the whole tree; NULL is fine. */
void conf_node_free(struct conf_node *root);

/* The member of a group; NULL when there is none, or no group. */
struct conf_node *conf_node_find(const struct conf_node *group, const char *name);

#endif
