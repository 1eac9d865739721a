/* Building an environment; see spawn_env.h. */
#include "spawn_env.h"

#include "exec_path.h"

#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t name_length(const char *variable)
{
    return strcspn(variable, "=");
}

static bool same_name(const char *a, const char *b)
{
    size_t len = name_length(a);

    return len == name_length(b) && strncmp(a, b, len) == 0;
}

/* Takes TEXT; replaces a variable of the same name. There is room. */
static int put(struct spawn_env *env, char *text)
{
    if (!text)
        return -ENOMEM;
    for (size_t i = 0; i < env->len; i++)
        if (same_name(env->common[i], text)) {
            free(env->common[i]);
            env->common[i] = text;
            return 0;
        }
    env->common[env->len++] = text;
    return 0;
}

static char *pair(const char *name, const char *value)
{
    char *text;

    return asprintf(&text, "%s=%s", name, value) < 0 ? NULL : text;
}

static bool is_passed(const char *variable)
{
    static const char *const names[] = { "PATH", "LANG", "TZ" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (same_name(variable, names[i]))
            return true;
    return strncmp(variable, "LC_", 3) == 0;
}

static int put_common(struct spawn_env *env)
{
    const struct service *s = env->service;
    char framing[FRAME_TEXT_MAX];
    int r = put(env, pair("PATH", EXEC_PATH_DEFAULT));

    for (char **it = environ; r == 0 && it && *it; it++)
        if (is_passed(*it))
            r = put(env, strdup(*it));
    if (r == 0)
        r = put(env, pair("SOCKD_SERVICE", s->name));
    if (r < 0 || s->handler != HANDLER_HELPER)
        return r;
    frame_print(framing, &s->helper_framing.is);
    r = put(env, pair("SOCKD_FRAMING", s->helper_protocol == HELPER_JSON ? "line" : framing));
    return r < 0 ? r : put(env, strdup("PYTHONUNBUFFERED=1"));
}

static int put_own(struct spawn_env *env)
{
    const struct words *own = &env->service->environment;
    int r = 0;

    for (size_t i = 0; r == 0 && i < own->len; i++) {
        const char *text = own->item[i], *value;
        if (strchr(text, '='))
            r = put(env, strdup(text));
        else if ((value = getenv(text)))
            r = put(env, pair(text, value));
    }
    return r;
}

int spawn_env_init(struct spawn_env *env, const struct service *service)
{
    size_t room = 8 + service->environment.len;

    for (char **it = environ; it && *it; it++)
        room++;
    *env = (struct spawn_env){ .service = service, .common = calloc(room, sizeof(char *)) };
    if (!env->common)
        return -ENOMEM;
    int r = put_common(env);
    if (r == 0)
        r = put_own(env);
    if (r < 0)
        spawn_env_done(env);
    return r;
}

void spawn_env_done(struct spawn_env *env)
{
    for (size_t i = 0; i < env->len; i++)
        free(env->common[i]);
    free(env->common);
    *env = (struct spawn_env){ .common = NULL };
}

/* The variables of one connection: more than there are, and longer than they get, the path of a Unix socket
 * (108 bytes) among them. */
#define VARIABLES_MAX 20
#define TEXT_MAX      1536

/* An environment while it is built: the pointers, and behind them the texts of the connection. */
struct block {
    const struct spawn_env *env;
    char **item;
    size_t len, used;
    char *text;
};

static bool begin(struct block *b, const struct spawn_env *env)
{
    size_t pointers = (env->len + VARIABLES_MAX + 1) * sizeof(char *);

    *b = (struct block){ .env = env, .item = malloc(pointers + TEXT_MAX) };
    if (!b->item)
        return false;
    b->text = (char *)b->item + pointers;
    return true;
}

/* Says it, unless the configuration says otherwise. */
static void say(struct block *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct block *b, const char *format, ...)
{
    char *text = b->text + b->used;
    va_list args;

    va_start(args, format);
    int n = vsnprintf(text, TEXT_MAX - b->used, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= TEXT_MAX - b->used || b->len == VARIABLES_MAX)
        return;
    for (size_t i = 0; i < b->env->service->environment.len; i++)
        if (same_name(b->env->service->environment.item[i], text))
            return;
    b->item[b->len++] = text;
    b->used += (size_t)n + 1;
}

static char **finish(struct block *b)
{
    if (b->env->len)
        memcpy(b->item + b->len, b->env->common, b->env->len * sizeof(char *));
    b->item[b->len + b->env->len] = NULL;
    return b->item;
}

/* UCSPI-TCP; for IPv6 as in ucspi-tcp6, tcp-environ(5). systemd.exec(5); xinetd.conf(5). */
static void say_internet(struct block *b, const struct addr *peer, const struct addr *local, uint32_t number)
{
    char theirs[ADDR_TEXT_MAX], ours[ADDR_TEXT_MAX], interface[IF_NAMESIZE];

    addr_print_host(theirs, peer);
    addr_print_host(ours, local);
    say(b, "PROTO=%s", peer->family == AF_INET6 ? "TCP6" : "TCP");
    say(b, "TCPREMOTEIP=%s", theirs);
    say(b, "TCPREMOTEPORT=%u", peer->port);
    say(b, "TCPLOCALIP=%s", ours);
    say(b, "TCPLOCALPORT=%u", local->port);
    say(b, "TCPCONNNUM=%u", number);
    if (peer->family == AF_INET6) {
        say(b, "TCP6REMOTEIP=%s", theirs);
        say(b, "TCP6REMOTEPORT=%u", peer->port);
        say(b, "TCP6LOCALIP=%s", ours);
        say(b, "TCP6LOCALPORT=%u", local->port);
        if (peer->scope && if_indextoname(peer->scope, interface))
            say(b, "TCP6INTERFACE=%s", interface);
    }
    say(b, "REMOTE_ADDR=%s", theirs);
    say(b, "REMOTE_PORT=%u", peer->port);
    say(b, "REMOTE_HOST=%s", theirs);
}

/* The UNIX protocol of ucspi-unix. */
static void say_unix(struct block *b, const struct addr *peer)
{
    const char *path = b->env->service->path;

    say(b, "PROTO=UNIX");
    if (path)
        say(b, "UNIXLOCALPATH=%s", path);
    say(b, "UNIXLOCALUID=%u", (unsigned)geteuid());
    say(b, "UNIXLOCALGID=%u", (unsigned)getegid());
    say(b, "UNIXLOCALPID=%d", (int)getpid());
    if (peer->uid == (uid_t)-1)
        return;
    say(b, "UNIXREMOTEEUID=%u", (unsigned)peer->uid);
    say(b, "UNIXREMOTEEGID=%u", (unsigned)peer->gid);
    say(b, "UNIXREMOTEPID=%d", (int)peer->pid);
}

char **spawn_env_helper(const struct spawn_env *env)
{
    struct block b;

    return begin(&b, env) ? finish(&b) : NULL;
}

char **spawn_env_program(const struct spawn_env *env, const struct addr *peer, const struct addr *local,
                         uint32_t number)
{
    struct block b;

    if (!begin(&b, env))
        return NULL;
    if (peer->family == AF_UNIX)
        say_unix(&b, peer);
    else
        say_internet(&b, peer, local, number);
    return finish(&b);
}
