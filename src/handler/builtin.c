/* The built-in handlers; see builtin.h. */
#include "handler/builtin.h"

#include "base/hot.h"

#include <time.h>

static HOT void echo(void *context, struct request *request)
{
    (void)context;
    request_reply(request, request->data, request->len);
}

static void discard(void *context, struct request *request)
{
    (void)context;
    request_silence(request);
}

/* In the form that RFC 867 suggests first: "Tuesday, February 22, 1982 17:37:43-PST". */
static void daytime(void *context, struct request *request)
{
    char text[96];
    time_t now = time(NULL);
    struct tm local;

    (void)context;
    localtime_r(&now, &local);
    request_reply(request, text, strftime(text, sizeof text, "%A, %B %d, %Y %T-%Z", &local));
}

const struct handler builtin_echo = { .request = echo };
const struct handler builtin_discard = { .request = discard };
const struct handler builtin_daytime = { .speaks_first = true, .request = daytime };
