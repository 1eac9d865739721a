/*
 * The json protocol of helpers, one object a line, as text: sockd-helper(7). Pure: no input, no output, no
 * log. The one place that knows how an object looks; jansson does the rest. Runs in a worker.
 */
#ifndef SOCKD_HANDLER_HELPER_JSON_H
#define SOCKD_HANDLER_HELPER_JSON_H

#include "base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the helper is told of a request. CONNECTION 0: it is a datagram. */
struct json_request {
    uint64_t id, connection;
    const char *service, *transport;
    const struct addr *peer, *local;
    const char *data; /* `request` where it is valid UTF-8, else `request64` */
    size_t len;
};

/* A line with its LF, for free(3); NULL without memory. */
char *json_print_request(const struct json_request *request, size_t *ret_len);
/* {"closed":CONNECTION}: that client left. */
char *json_print_closed(uint64_t connection, size_t *ret_len);

enum json_kind {
    JSON_REPLY,   /* to request `id`; `data` */
    JSON_SILENCE, /* request `id` is done */
    JSON_ERROR,   /* request `id` cannot be answered: `data` says why */
    JSON_PUSH,    /* to `connection`, unasked; `data` */
};

struct json_answer {
    enum json_kind kind;
    uint64_t id, connection;
    bool close; /* after this, when it is sent, the connection ends */
    char *data; /* owns; NUL-terminated */
    size_t len;
};

/* Reads a line without its LF. 0; -EINVAL with what is wrong in *RET_WHY (static); -ENOMEM.
 * json_answer_done() frees. */
int json_parse_answer(const char *line, size_t len, struct json_answer *ret, const char **ret_why);
void json_answer_done(struct json_answer *answer);

#endif
