/* Lines of the json protocol; see helper_json.h. */
#include "handler/helper_json.h"

#include <errno.h>
#include <jansson.h>
#include <resolv.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The length of N bytes in base64, with its NUL. */
static size_t base64_size(size_t n)
{
    return (n + 2) / 3 * 4 + 1;
}

/* The bytes as {"NAME": text}, or as {"NAME64": base64} where they are no text. 0 or -ENOMEM. */
static int add_bytes(json_t *object, const char *name, const char *name64, const char *data, size_t len)
{
    json_t *text = json_stringn(data, len);

    if (text)
        return json_object_set_new(object, name, text) == 0 ? 0 : -ENOMEM;
    char *encoded = malloc(base64_size(len));
    if (!encoded)
        return -ENOMEM;
    b64_ntop((const unsigned char *)data, len, encoded, base64_size(len));
    int r = json_object_set_new(object, name64, json_string(encoded));
    free(encoded);
    return r == 0 ? 0 : -ENOMEM;
}

static void add_address(json_t *object, const char *name, const struct addr *addr)
{
    char text[ADDR_TEXT_MAX];

    json_object_set_new(object, name, json_string(addr_print(text, addr)));
}

/* One line; takes OBJECT. */
static char *print_line(json_t *object, size_t *ret_len)
{
    size_t len = json_dumpb(object, NULL, 0, JSON_COMPACT);
    char *line = malloc(len + 2);

    if (line) {
        json_dumpb(object, line, len, JSON_COMPACT);
        line[len] = '\n';
        line[len + 1] = '\0';
        *ret_len = len + 1;
    }
    json_decref(object);
    return line;
}

char *json_print_request(const struct json_request *request, size_t *ret_len)
{
    json_t *object = json_object();

    if (!object)
        return NULL;
    json_object_set_new(object, "id", json_integer((json_int_t)request->id));
    json_object_set_new(object, "service", json_string(request->service));
    json_object_set_new(object, "transport", json_string(request->transport));
    if (request->connection)
        json_object_set_new(object, "connection", json_integer((json_int_t)request->connection));
    add_address(object, "peer", request->peer);
    add_address(object, "local", request->local);
    if (add_bytes(object, "request", "request64", request->data, request->len) < 0) {
        json_decref(object);
        return NULL;
    }
    return print_line(object, ret_len);
}

char *json_print_closed(uint64_t connection, size_t *ret_len)
{
    json_t *object = json_object();

    if (!object)
        return NULL;
    json_object_set_new(object, "closed", json_integer((json_int_t)connection));
    return print_line(object, ret_len);
}

/* 1 or -ENOMEM. */
static int take_text(const json_t *text, struct json_answer *ret)
{
    size_t len = json_string_length(text);

    ret->data = malloc(len + 1);
    if (!ret->data)
        return -ENOMEM;
    memcpy(ret->data, json_string_value(text), len + 1);
    ret->len = len;
    return 1;
}

/* 1; -EINVAL, also for what stands behind a NUL; or -ENOMEM. */
static int take_base64(const json_t *encoded, struct json_answer *ret)
{
    const char *digits = json_string_value(encoded);
    size_t size = json_string_length(encoded) + 1;

    if (strlen(digits) + 1 != size)
        return -EINVAL;
    ret->data = malloc(size);
    if (!ret->data)
        return -ENOMEM;
    int n = b64_pton(digits, (unsigned char *)ret->data, size);
    if (n < 0)
        return -EINVAL;
    ret->len = (size_t)n;
    ret->data[n] = '\0';
    return 1;
}

/* A copy of the bytes, as they are or decoded. 1; 0 when OBJECT has neither member; -EINVAL or -ENOMEM. */
static int take_bytes(const json_t *object, const char *name, const char *name64, struct json_answer *ret)
{
    const json_t *text = json_object_get(object, name), *encoded = json_object_get(object, name64);

    if (!text && !encoded)
        return 0;
    if ((text && encoded) || !json_is_string(text ? text : encoded))
        return -EINVAL;
    return text ? take_text(text, ret) : take_base64(encoded, ret);
}

/* A whole number from 1. */
static bool take_number(const json_t *object, const char *name, uint64_t *ret)
{
    const json_t *number = json_object_get(object, name);

    if (!json_is_integer(number) || json_integer_value(number) < 1)
        return false;
    *ret = (uint64_t)json_integer_value(number);
    return true;
}

static int take_push(const json_t *object, struct json_answer *ret, const char **ret_why)
{
    int r = take_bytes(object, "push", "push64", ret);

    ret->kind = JSON_PUSH;
    if (r == 0)
        *ret_why = "has neither \"id\" nor \"push\"";
    else if (r < 0)
        *ret_why = "has a \"push\" that is no text, or a \"push64\" that is no base64";
    if (r > 0 && !take_number(object, "connection", &ret->connection)) {
        *ret_why = "has a \"push\" without a \"connection\"";
        r = 0;
    }
    return r > 0 ? 0 : r == -ENOMEM ? r : -EINVAL;
}

static int take_reply(const json_t *object, struct json_answer *ret, const char **ret_why)
{
    const json_t *error = json_object_get(object, "error");
    int r = take_bytes(object, "reply", "reply64", ret);

    if (r < 0) {
        *ret_why = "has a \"reply\" that is no text, or a \"reply64\" that is no base64";
        return r;
    }
    ret->kind = r > 0 ? JSON_REPLY : JSON_SILENCE;
    if (!error)
        return 0;
    if (r > 0 || !json_is_string(error)) {
        *ret_why = "has an \"error\" that is no text, or beside a \"reply\"";
        return -EINVAL;
    }
    ret->kind = JSON_ERROR;
    r = take_text(error, ret);
    return r < 0 ? r : 0;
}

static int take_object(const json_t *object, struct json_answer *ret, const char **ret_why)
{
    if (!json_is_object(object)) {
        *ret_why = "is no JSON object";
        return -EINVAL;
    }
    ret->close = json_is_true(json_object_get(object, "close"));
    if (!json_object_get(object, "id"))
        return take_push(object, ret, ret_why);
    if (take_number(object, "id", &ret->id))
        return take_reply(object, ret, ret_why);
    *ret_why = "has an \"id\" that is no number";
    return -EINVAL;
}

int json_parse_answer(const char *line, size_t len, struct json_answer *ret, const char **ret_why)
{
    json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    struct json_answer answer = { 0 };

    int r = take_object(object, &answer, ret_why);
    json_decref(object);
    if (r < 0) {
        json_answer_done(&answer);
        return r;
    }
    *ret = answer;
    return 0;
}

void json_answer_done(struct json_answer *answer)
{
    free(answer->data);
    answer->data = NULL;
}
