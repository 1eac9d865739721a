/*
 * A look at the text of a configuration file before libconfig reads it, for what libconfig 1.5 lets pass in
 * silence: integers that it cuts, NUL bytes that it loses, @include, and nesting without a bound.
 */
#ifndef SOCKD_CONF_SCAN_H
#define SOCKD_CONF_SCAN_H

#include <stddef.h>

/* Deeper than any configuration, far less than what the parser's stack holds. */
#define CONF_DEPTH_MAX 32

struct conf_node;

/* What is wrong, and where. */
struct conf_fault {
    int line;                     /* 0: not known */
    const struct conf_node *node; /* set by the types of keys alone: the value, or an element of it */
    char text[512];
};

/* A byte that is no digit follows the LEN bytes. 0, or -EINVAL with the first fault. */
int conf_scan(const char *text, size_t len, struct conf_fault *ret);

/*
 * For a text that is well but for a key that is written twice: 0 and its path, with both lines; -ENOENT when
 * there is none, or without memory, and *RET is untouched.
 */
int conf_scan_twice(const char *text, size_t len, struct conf_fault *ret);

/*
 * For a text that is wrong in the line of *RET: 0, and in *RET what most likely is, when the line shows it:
 * text without double quotes, or a name that does not begin with a letter. -ENOENT, and *RET is untouched.
 */
int conf_scan_hint(const char *text, struct conf_fault *ret);

#endif
