/* The types of text among the configuration's values, and what all types need to speak of what the user
 * wrote. */
#ifndef SOCKD_CONF_TEXT_H
#define SOCKD_CONF_TEXT_H

#include "conf_node.h"

#include <stdbool.h>
#include <stdio.h>

struct conf_key;

/* Room for what the user wrote, quoted for a message and cut when it is long. */
#define CONF_QUOTED_MAX 128

/* Returns BUF. */
char *conf_text_quote(char buf[CONF_QUOTED_MAX], const char *text);

/* Prints TEXT as a string of libconfig, in its quotes. */
void conf_text_print(const char *text, FILE *out);

/* Fills *RET_WHY with the node's line and the text; returns -EINVAL. */
int conf_text_fault(struct conf_fault *ret_why, const struct conf_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a value of a type that the key does not take. */
int conf_text_wrong_type(const struct conf_key *key, const struct conf_node *node,
                         struct conf_fault *ret_why);

/* The length of the name of a variable that TEXT, as in environ(7), begins with; 0: it is none. */
size_t conf_text_variable(const char *text);
/* The variable of TEXT is what a service manager tells one process alone: it must not reach another. */
bool conf_text_is_private(const char *text);

/* A list as its items; any other value stands for a list of one. */
size_t conf_text_items(const struct conf_node *node);
const struct conf_node *conf_text_item(const struct conf_node *node, size_t i);

#endif
