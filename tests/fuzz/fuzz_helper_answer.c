/*
 * Any line that a helper of the json protocol may write. Holds that what is taken is for a request or a
 * connection and has its bytes, that these can be told to a helper on one line, and that what is refused is
 * refused with a reason that fits on a line.
 */
#include "handler/helper_json.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct json_answer *answer)
{
    bool pushes = answer->kind == JSON_PUSH;

    assert(pushes ? answer->connection > 0 : answer->id > 0);
    if (answer->kind == JSON_SILENCE)
        assert(!answer->data && answer->len == 0);
    else
        assert(answer->data && answer->data[answer->len] == '\0');
}

static void tell(const struct json_answer *answer)
{
    const struct addr peer = { .family = AF_UNIX, .uid = 1 };
    const struct json_request request = { .id = 1,
                                          .service = "test",
                                          .transport = "unix",
                                          .peer = &peer,
                                          .local = &peer,
                                          .data = answer->data ? answer->data : "",
                                          .len = answer->len };
    size_t len = 0;
    char *line = json_print_request(&request, &len);

    assert(line && strlen(line) == len);
    assert(strchr(line, '\n') == line + len - 1);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_answer answer;
    const char *why = NULL;

    int r = json_parse_answer((const char *)data, size, &answer, &why);
    if (r < 0) {
        assert(r == -EINVAL && why && *why && strlen(why) < 256 && !strchr(why, '\n'));
        return 0;
    }
    check(&answer);
    tell(&answer);
    json_answer_done(&answer);
    return 0;
}
