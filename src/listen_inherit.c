/*
 * Sockets that another process opened for us: those of socket units, and our own from before a restart. Each
 * becomes a listener that listen_open() finds.
 */
#include "listen.h"

#include "base/text.h"
#include "complaints.h"
#include "listen_socket.h"

#include <errno.h>
#include <string.h>

/* The first descriptor that systemd hands over. */
#define FIRST_INHERITED 3

/* systemd names a socket after its unit when FileDescriptorName= is not set; "unknown" stands for no name at
 * all. */
static bool is_unnamed(const char *name)
{
    size_t len = strlen(name);

    return len == 0 || strcmp(name, "unknown") == 0 || (len > 7 && strcmp(name + len - 7, ".socket") == 0);
}

static const struct service *lone_service(const struct conf *conf)
{
    const struct service *lone = NULL;

    for (size_t i = 0; i < conf->n_services; i++) {
        if (conf->services[i].enabled && lone)
            return NULL;
        if (conf->services[i].enabled)
            lone = &conf->services[i];
    }
    return lone;
}

/* Whose socket it is; NULL after a complaint. */
static const struct service *find_owner(const struct conf *conf, const char *name, size_t n, int fd,
                                        struct complaints *c)
{
    char safe[280];

    text_escape(safe, sizeof(safe), name, strlen(name));
    const struct service *service = conf_find(conf, name);
    if (service && service->enabled)
        return service;
    if (service) {
        complaints_add(c, true,
                       "socket activation: descriptor %d is for the service %s, which is not enabled", fd,
                       safe);
        return NULL;
    }
    service = is_unnamed(name) && n == 1 ? lone_service(conf) : NULL;
    if (!service && is_unnamed(name))
        complaints_add(
            c, true,
            "socket activation: descriptor %d has no service's name (\"%s\"); set FileDescriptorName= "
            "to a service",
            fd, safe);
    else if (!service)
        complaints_add(c, true,
                       "socket activation: descriptor %d is for \"%s\", and there is no such service", fd,
                       safe);
    return service;
}

static const char *identify_error(int r)
{
    switch (r) {
    case -EBADF:
        return "it is not open";
    case -ENOTSOCK:
        return "it is not a socket";
    case -ENOTCONN:
        return "it is a stream socket that does not listen (Accept=yes is not for sockd)";
    case -EINVAL:
        return "no transport of sockd has sockets of this type";
    default:
        return strerror(-r);
    }
}

static int adopt(struct listeners *ls, const struct service *service, int fd, struct complaints *c)
{
    struct listen_name name;

    int r = listen_socket_identify(fd, &name);
    if (r == 0)
        r = listen_socket_adopt(fd, &name);
    if (r < 0) {
        complaints_add(c, true, "%s: cannot use the inherited descriptor %d: %s", service->name, fd,
                       identify_error(r));
        return -EINVAL;
    }
    struct listener *l = listen_find(ls, &name) ? NULL : listen_add(ls, fd, &name);
    if (!l) {
        complaints_add(c, true, "%s: cannot use the inherited descriptor %d: it was handed over twice",
                       service->name, fd);
        return -EINVAL;
    }
    l->inherited = strdup(service->name);
    return l->inherited ? 0 : -ENOMEM;
}

static bool is_store_name(const char *name)
{
    size_t len = strlen(name), digits = 0;

    while (digits < len && name[len - digits - 1] >= '0' && name[len - digits - 1] <= '9')
        digits++;
    return strncmp(name, LISTEN_STORE_PREFIX, strlen(LISTEN_STORE_PREFIX)) == 0 && digits > 0 &&
           len > strlen(LISTEN_STORE_PREFIX) + digits + 1 && name[len - digits - 1] == '-';
}

/*
 * One of ours, from before a restart. One that cannot be used any more, or whose file is gone, is taken as
 * well, under an address that nobody wants: so it is forgotten like all others that the configuration has no
 * use for.
 */
static int adopt_stored(struct listeners *ls, int fd, const char *store_name)
{
    struct listen_name name = { .transport = TRANSPORT_COUNT };
    struct sockfile_id id = { 0 };

    int r = listen_socket_identify(fd, &name);
    if (r == 0)
        r = listen_socket_adopt(fd, &name);
    if (r == 0 && name.path[0])
        r = sockfile_find(name.path, &id);
    if (r < 0 || listen_find(ls, &name))
        name = (struct listen_name){ .transport = TRANSPORT_COUNT };
    struct listener *l = listen_add(ls, fd, &name);
    if (!l)
        return -ENOMEM;
    l->id = id;
    l->store = LISTEN_STORED;
    l->store_name = strdup(store_name);
    return l->store_name ? 0 : -ENOMEM;
}

struct listener *listen_adopt(struct listeners *ls, int fd, const char *path, const char *inherited,
                              const char *store_name)
{
    struct listen_name name;

    if (listen_socket_identify(fd, &name) < 0 || (path && strlen(path) >= sizeof(name.path)))
        return NULL;
    if (path)
        strcpy(name.path, path);
    struct listener *l = listen_add(ls, fd, &name);
    if (!l)
        return NULL;
    l->inherited = inherited ? strdup(inherited) : NULL;
    l->store_name = store_name ? strdup(store_name) : NULL;
    return l;
}

int listen_inherit(struct listeners *ls, const struct conf *conf, char *const *names, size_t n,
                   struct complaints *complaints)
{
    int result = 0;
    size_t activated = 0;

    for (size_t i = 0; i < n; i++)
        activated += !is_store_name(names[i]);
    for (size_t i = 0; i < n; i++) {
        int fd = FIRST_INHERITED + (int)i, r = -EINVAL;
        if (is_store_name(names[i]))
            continue;
        const struct service *service = find_owner(conf, names[i], activated, fd, complaints);
        if (service)
            r = adopt(ls, service, fd, complaints);
        if (r < 0 && result == 0)
            result = r;
    }
    /* After the others: what systemd holds for us by a socket unit is not kept twice. */
    for (size_t i = 0; i < n; i++) {
        int r = is_store_name(names[i]) ? adopt_stored(ls, FIRST_INHERITED + (int)i, names[i]) : 0;
        if (r < 0 && result == 0)
            result = r;
    }
    return result;
}
