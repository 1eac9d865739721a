/*
 * The types of configuration keys: how a value is read from a parsed file, printed in the syntax of the file,
 * and freed. What a type prints, it reads back to the same; so two values are equal when they print the same.
 */
#ifndef SOCKD_CONF_VALUE_H
#define SOCKD_CONF_VALUE_H

#include "conf_node.h"

#include <stdio.h>

struct conf_key;

struct conf_type {
    const char *expects; /* what a value looks like, with an example */
    /*
     * Reads NODE into *FIELD, which is all zero before. 0; or -EINVAL with the reason in *RET_WHY, and *FIELD
     * untouched; or -ENOMEM.
     */
    int (*parse)(const struct conf_key *key, const struct conf_node *node, void *field,
                 struct conf_fault *ret_why);
    void (*print)(const struct conf_key *key, const void *field, FILE *out);
    void (*done)(void *field); /* NULL: owns nothing */
};

extern const struct conf_type conf_type_bool;           /* bool */
extern const struct conf_type conf_type_int;            /* int64_t */
extern const struct conf_type conf_type_time;           /* uint64_t, ms */
extern const struct conf_type conf_type_size;           /* uint64_t, bytes */
extern const struct conf_type conf_type_word;           /* int, an index into key->words */
extern const struct conf_type conf_type_level;          /* int, LOG_INFO and so on */
extern const struct conf_type conf_type_transport;      /* uint32_t, bits */
extern const struct conf_type conf_type_hosts;          /* struct words */
extern const struct conf_type conf_type_port;           /* uint32_t */
extern const struct conf_type conf_type_path;           /* char * */
extern const struct conf_type conf_type_mode;           /* uint32_t */
extern const struct conf_type conf_type_group;          /* char * */
extern const struct conf_type conf_type_framing;        /* struct framing */
extern const struct conf_type conf_type_helper_framing; /* struct helper_framing; "": the service's own */
extern const struct conf_type conf_type_command;        /* struct words, at least one */
extern const struct conf_type conf_type_plugin;         /* char * */
extern const struct conf_type conf_type_string;         /* char * */
extern const struct conf_type conf_type_directory;      /* char * */
extern const struct conf_type conf_type_environment;    /* struct words */
extern const struct conf_type conf_type_bytes;          /* struct bytes */
extern const struct conf_type conf_type_nets;           /* struct nets */
extern const struct conf_type conf_type_metrics;        /* struct conf_metrics; "{ }" is none */

#endif
