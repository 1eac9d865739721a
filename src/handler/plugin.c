/*
 * Plug-ins: begun, called, ended; see sockd-plugin.h for what they are promised, and handler.h for what is
 * promised of them. Runs in a worker, and plugin_rehearse() in a child of the master (trial.c).
 *
 * A plug-in that cannot be used is trouble of its service alone: its requests fail, and it is tried again
 * with pauses, since what its `init` lacks may come. One that crashes takes the worker with it.
 */
#include "handler/plugin.h"

#include "base/log.h"
#include "base/text.h"
#include "handler/plugin_file.h"
#include "log_ids.h"
#include "sockd-plugin.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Pauses before a plug-in that could not be used is tried again. */
#define PAUSE_FIRST_MS 1000
#define PAUSE_MAX_MS   30000

/* As much of a path is told with what is wrong. */
#define PATH_SHOWN 100

static_assert(SOCKD_ADDRESS_MAX == ADDR_TEXT_MAX, "addresses fit what the header promises");

#define WATCHABLE ((uint32_t)(EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP))

/* One service of one worker. */
struct sockd_service {
    const struct handler_host *host;   /* borrows */
    const struct sockd_plugin *plugin; /* NULL while there is none that can be used */
    const char *name;                  /* borrows; the plug-in's, for the log */
    struct plugin_file *file;          /* holds */
    void *context;                     /* of the plug-in */
    struct list watches;
    const struct request *inside; /* the request that `handle` is called with and has not ended yet */
    struct loop_timer again;
    uint64_t pause_ms;
    char why[PLUGIN_WHY_MAX]; /* it cannot be used */
};

struct sockd_watch {
    struct loop_source source;
    struct list link;
    struct sockd_service *service;
    void (*ready)(void *arg, uint32_t events);
    void *arg;
    struct loop_garbage garbage;
};

/*
 * A plug-in must not fork. When it does all the same, its child may execute something or exit, but as soon as
 * it comes back to us it ends, instead of serving our connections a second time.
 */
static bool is_stray_child;

static void on_forked(void)
{
    is_stray_child = true;
}

static void stay_one(const struct sockd_service *service)
{
    struct log_about about = { .id = LOG_ID_PLUGIN, .service = service->host->service->name };

    if (!is_stray_child)
        return;
    log_write(LOG_WARNING, &about, "%s forked, which a plug-in must not; the child is ended", service->name);
    _exit(EXIT_FAILURE);
}

static const struct request *look_inside(const struct sockd_request *request)
{
    return (const struct request *)(const void *)request;
}

static struct sockd_request *outside(struct request *request)
{
    return (struct sockd_request *)(void *)request;
}

static const char *host_data(const struct sockd_request *request, size_t *len)
{
    *len = look_inside(request)->len;
    return look_inside(request)->data;
}

static void host_peer(const struct sockd_request *request, char *text)
{
    addr_print(text, look_inside(request)->peer);
}

static void host_local(const struct sockd_request *request, char *text)
{
    addr_print(text, look_inside(request)->local);
}

/*
 * The plug-in is done with the request. A second time there may be another one in its memory, so that
 * somebody would get a reply that is not his: the worker ends.
 */
static struct request *take_back(struct sockd_request *request)
{
    struct request *r = (struct request *)(void *)request;
    struct sockd_service *service = r->held;

    if (!service) {
        log_event(LOG_ERR, LOG_ID_FAULT, "a plug-in ended a request that it did not have");
        abort();
    }
    stay_one(service);
    if (service->inside == r)
        service->inside = NULL;
    r->held = NULL;
    return r;
}

static void host_reply(struct sockd_request *request, const void *data, size_t len)
{
    request_reply(take_back(request), len > 0 ? data : "", len);
}

static void host_silence(struct sockd_request *request)
{
    request_silence(take_back(request));
}

/* Counts the request as failed by the handler, and says why. */
static void fail(struct sockd_service *service, struct request *request, const char *why)
{
    char safe[PLUGIN_WHY_MAX];

    text_escape(safe, sizeof safe, why, strlen(why));
    service->host->report(service->host, request->peer, safe);
    request_fail(request, REQUEST_FAILED_HANDLER);
}

static void host_fail(struct sockd_request *request, const char *why)
{
    struct sockd_service *service = look_inside(request)->held;

    fail(service, take_back(request), why ? why : "the plug-in failed");
}

static void host_log(struct sockd_service *service, int priority, const char *text)
{
    struct log_about about = { .id = LOG_ID_PLUGIN, .service = service->host->service->name };
    int level = priority < LOG_ERR ? LOG_ERR : priority > LOG_DEBUG ? LOG_DEBUG : priority;

    log_write(level, &about, "%s: %s", service->name, text);
}

static const char *host_service_name(const struct sockd_service *service)
{
    return service->host->service->name;
}

static void on_watched(struct loop_source *source, uint32_t events)
{
    struct sockd_watch *watch = container_of(source, struct sockd_watch, source);
    struct sockd_service *service = watch->service;

    watch->ready(watch->arg, events);
    stay_one(service);
}

static struct sockd_watch *host_watch(struct sockd_service *service, int fd, uint32_t events,
                                      void (*ready)(void *arg, uint32_t events), void *arg)
{
    struct sockd_watch *watch = malloc(sizeof *watch);

    if (!watch)
        return NULL;
    *watch = (struct sockd_watch){ .source.fd = -1, .service = service, .ready = ready, .arg = arg };
    int r = loop_add(service->host->loop, &watch->source, fd, events & WATCHABLE, on_watched);
    if (r < 0) {
        free(watch);
        errno = -r;
        return NULL;
    }
    list_append(&service->watches, &watch->link);
    return watch;
}

static void free_watch(struct loop_garbage *garbage)
{
    free(container_of(garbage, struct sockd_watch, garbage));
}

static void host_unwatch(struct sockd_watch *watch)
{
    struct loop *loop = watch->service->host->loop;

    loop_remove(loop, &watch->source);
    list_remove(&watch->link);
    loop_free_later(loop, &watch->garbage, free_watch);
}

static const struct sockd_host host_table = {
    .size = sizeof(struct sockd_host),
    .abi = SOCKD_PLUGIN_ABI,
    .data = host_data,
    .peer = host_peer,
    .local = host_local,
    .reply = host_reply,
    .silence = host_silence,
    .fail = host_fail,
    .log = host_log,
    .service_name = host_service_name,
    .watch = host_watch,
    .unwatch = host_unwatch,
};

/* After `init` failed, or `fini`: nothing of the plug-in's is called any more. */
static void unload(struct sockd_service *service)
{
    list_for_each (it, &service->watches)
        host_unwatch(container_of(it, struct sockd_watch, link));
    plugin_file_give(service->file);
    service->file = NULL;
    service->plugin = NULL;
}

/* 0, or -errno of its init. */
static int call_init(struct sockd_service *service, const struct sockd_plugin *plugin)
{
    const char *options = service->host->service->plugin_options;
    int error = 0;

    service->name = plugin->name;
    service->context = NULL;
    if (plugin->init)
        error = plugin->init(&host_table, service, options ? options : "", &service->context);
    stay_one(service);
    return error > 0 ? -error : error;
}

/* 0; or -EINVAL and WHY. */
static int take(struct sockd_service *service, char why[PLUGIN_WHY_MAX])
{
    const char *path = service->host->service->plugin;
    char fault[PLUGIN_WHY_MAX];

    const struct sockd_plugin *plugin = plugin_file_take(path, &service->file, fault);
    if (!plugin)
        return plugin_say(why, "plug-in %.*s: %s", PATH_SHOWN, path, fault);
    int r = call_init(service, plugin);
    if (r < 0) {
        plugin_say(why, "plug-in %.*s: init failed: %s", PATH_SHOWN, path, strerror(-r));
        unload(service);
        return -EINVAL;
    }
    service->plugin = plugin;
    return 0;
}

static void give_back(struct sockd_service *service)
{
    if (service->plugin->fini)
        service->plugin->fini(service->context);
    unload(service);
}

void plugin_rehearse(const struct service *conf)
{
    struct loop loop;
    struct handler_host host = { .service = conf, .loop = &loop };
    struct sockd_service service = { .host = &host };
    char why[PLUGIN_WHY_MAX];

    list_init(&service.watches);
    if (loop_init(&loop) < 0)
        return;
    if (take(&service, why) == 0)
        give_back(&service);
    loop_done(&loop);
}

static void on_again(struct loop_timer *timer);

/* The master tells when the trouble begins and ends; here only that its reason is another one now. */
static void try_later(struct sockd_service *service, const char *why)
{
    const struct handler_host *host = service->host;
    struct log_about about = { .id = LOG_ID_SERVICE_DEGRADED, .service = host->service->name };

    if (service->why[0] && strcmp(why, service->why) != 0)
        log_write(LOG_WARNING, &about, "%s", why);
    snprintf(service->why, sizeof service->why, "%s", why);
    host->trouble(host, why);
    service->pause_ms = service->pause_ms ? service->pause_ms * 2 : PAUSE_FIRST_MS;
    if (service->pause_ms > PAUSE_MAX_MS)
        service->pause_ms = PAUSE_MAX_MS;
    loop_timer_set(host->loop, &service->again, loop_now(host->loop) + service->pause_ms, on_again);
}

static void on_again(struct loop_timer *timer)
{
    struct sockd_service *service = container_of(timer, struct sockd_service, again);
    char why[PLUGIN_WHY_MAX];

    if (take(service, why) < 0)
        try_later(service, why);
    else
        service->host->well(service->host);
}

static int start(const struct handler_host *host, void **ret_context)
{
    static bool watches_forks;
    struct sockd_service *service = calloc(1, sizeof *service);
    char why[PLUGIN_WHY_MAX];

    if (!service)
        return -ENOMEM;
    if (!watches_forks && pthread_atfork(NULL, NULL, on_forked) == 0)
        watches_forks = true;
    service->host = host;
    list_init(&service->watches);
    *ret_context = service;
    if (take(service, why) < 0)
        try_later(service, why);
    return 0;
}

static void stop(void *context)
{
    struct sockd_service *service = context;

    loop_timer_stop(service->host->loop, &service->again);
    if (service->plugin)
        give_back(service);
    free(service);
}

static void on_request(void *context, struct request *request)
{
    struct sockd_service *service = context;
    const struct sockd_plugin *plugin = service->plugin;

    if (!plugin) {
        fail(service, request, service->why);
        return;
    }
    request->held = service;
    service->inside = request;
    plugin->handle(service->context, outside(request));
    stay_one(service);
    if (!service->inside)
        return;
    service->inside = NULL;
    if (!plugin->cancel) /* it could not be told when the client leaves */
        host_fail(outside(request), "not answered inside `handle`, by a plug-in without `cancel`");
}

static void on_cancel(void *context, struct request *request)
{
    struct sockd_service *service = context;

    request->held = NULL;
    service->plugin->cancel(service->context, outside(request));
    stay_one(service);
}

const struct handler plugin_handler = {
    .start = start,
    .stop = stop,
    .request = on_request,
    .cancel = on_cancel,
};
