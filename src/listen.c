/*
 * The listeners that the master holds, and which of them a generation uses. A new generation's set is opened
 * beside the old one's; what both want is one socket with two references.
 */
#include "listen.h"

#include "base/fd.h"
#include "complaints.h"
#include "listen_want.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct listen_name name_of(const struct listener *l)
{
    struct listen_name name = { .transport = l->transport, .addr = l->addr };

    if (l->path)
        strncpy(name.path, l->path, sizeof(name.path) - 1);
    return name;
}

char *listener_print(char buf[LISTENER_TEXT_MAX], const struct listener *l)
{
    char address[ADDR_TEXT_MAX];

    snprintf(buf, LISTENER_TEXT_MAX, "%s %s", transport_words[l->transport],
             l->path ? l->path : addr_print(address, &l->addr));
    return buf;
}

uint32_t listener_look_drops(struct listener *l)
{
    uint32_t before = l->drops;

    if (!transport_is_stream(l->transport))
        l->drops = listen_socket_drops(l->fd);
    return l->drops - before;
}

void listeners_init(struct listeners *ls)
{
    list_init(&ls->all);
}

/* On no list yet. */
static struct listener *listener_new(int fd, const struct listen_name *name)
{
    struct listener *l = calloc(1, sizeof(*l));
    char *path = name->path[0] ? strdup(name->path) : NULL;

    if (!l || (name->path[0] && !path)) {
        free(path);
        free(l);
        return NULL;
    }
    l->fd = fd;
    l->transport = name->transport;
    l->addr = name->addr;
    l->path = path;
    listener_look_drops(l); /* what an inherited one dropped before is not ours */
    list_init(&l->link);
    return l;
}

struct listener *listen_add(struct listeners *ls, int fd, const struct listen_name *name)
{
    struct listener *l = listener_new(fd, name);

    if (l)
        list_append(&ls->all, &l->link);
    return l;
}

/* Closes it; a file that we made goes first, so that nobody is turned away by a name that stands for nothing.
 */
static void listener_free(struct listener *l)
{
    if (l->path && l->store != LISTEN_STORED)
        sockfile_remove(l->path, &l->id);
    list_remove(&l->link);
    fd_close(&l->fd);
    free(l->path);
    free(l->inherited);
    free(l->store_name);
    free(l);
}

void listen_forget(struct listener *l)
{
    free(l->store_name);
    l->store_name = NULL;
    l->store = LISTEN_NOT_STORED;
    if (l->refs == 0)
        listener_free(l);
}

void listeners_done(struct listeners *ls)
{
    list_for_each (it, &ls->all)
        listener_free(container_of(it, struct listener, link));
}

struct listener *listen_find(const struct listeners *ls, const struct listen_name *name)
{
    list_for_each (it, &ls->all) {
        struct listener *l = container_of(it, struct listener, link);
        struct listen_name its = name_of(l);
        if (listen_name_equal(&its, name))
            return l;
    }
    return NULL;
}

static bool has_store_name(const struct listeners *ls, const char *name)
{
    list_for_each (it, &ls->all) {
        const struct listener *l = container_of(it, struct listener, link);
        if (l->store_name && strcmp(l->store_name, name) == 0)
            return true;
    }
    return false;
}

/* Names what SERVICE binds itself, if there is room; without a name it is only not kept. */
static void name_for_store(const struct listeners *ls, struct listener *l, const struct service *service)
{
    char name[128];
    size_t kept = 0;
    unsigned number = 0;

    list_for_each (it, &ls->all)
        kept += container_of(it, struct listener, link)->store_name != NULL;
    if (l->inherited || l->store_name || kept >= ls->store_max)
        return;
    do
        snprintf(name, sizeof(name), LISTEN_STORE_PREFIX "%s-%u", service->name, number++);
    while (has_store_name(ls, name));
    l->store_name = strdup(name);
}

/* A set that grows while it is built. */
struct opening {
    struct listeners *ls;
    const struct names *names;
    struct complaints *complaints;
    struct listen_set set;
    int result; /* the first failure */
};

static void failed(struct opening *o, int r)
{
    if (o->result == 0)
        o->result = r;
}

static void use(struct opening *o, struct listener *l, const struct service *service)
{
    size_t n = o->set.len + 1;
    struct listener **item = reallocarray(o->set.item, n, sizeof(struct listener *));
    if (item)
        o->set.item = item;
    const struct service **services = reallocarray(o->set.service, n, sizeof(struct service *));
    if (services)
        o->set.service = services;
    if (!item || !services) {
        failed(o, -ENOMEM);
        return;
    }
    name_for_store(o->ls, l, service);
    l->refs++;
    item[o->set.len] = l;
    services[o->set.len++] = service;
}

static const struct service *user_of(const struct listen_set *set, const struct listener *l)
{
    for (size_t i = 0; i < set->len; i++)
        if (set->item[i] == l)
            return set->service[i];
    return NULL;
}

/* Two sockets that exclude each other: one of every address of a family, and one of it. */
static bool overlap(const struct listener *l, const struct listen_name *name)
{
    return l->transport == name->transport && l->addr.family == name->addr.family &&
           l->addr.port == name->addr.port && (addr_is_any(&l->addr) || addr_is_any(&name->addr));
}

/* The listener of ours that is in the way of NAME; NULL: none is. FILE is what lies at its path. */
static struct listener *find_own(const struct listeners *ls, const struct listen_name *name,
                                 const struct sockfile_id *file)
{
    list_for_each (it, &ls->all) {
        struct listener *l = container_of(it, struct listener, link);
        if (name->path[0] ? file->ino != 0 && sockfile_same(file, &l->id) : !l->path && overlap(l, name))
            return l;
    }
    return NULL;
}

/* NAME is in use by us ourselves: says so, and true. */
static bool complain_own(struct opening *o, const struct listen_name *name, const struct service *service)
{
    char place[LISTEN_PLACE_MAX], other[LISTEN_PLACE_MAX];
    struct sockfile_id file = { 0 };

    listen_place(place, name);
    if (name->path[0] && sockfile_find(name->path, &file) < 0)
        return false;
    if (file.ino != 0 && sockfile_same(&file, &o->ls->control)) {
        complaints_add(o->complaints, true, "%s: cannot listen on %s: it is the control socket of this sockd",
                       service->name, place);
        failed(o, -EINVAL);
        return true;
    }
    struct listener *l = find_own(o->ls, name, &file);
    if (!l)
        return false;
    struct listen_name its = name_of(l);
    const struct service *user = user_of(&o->set, l);
    l->obstructs = l->refs == 0 && l->store_name && !l->inherited;
    listen_place(other, &its);
    if (user)
        complaints_add(o->complaints, true, "%s: cannot listen on %s: service %s does already, on %s",
                       service->name, place, user->name, other);
    else
        complaints_add(
            o->complaints, true,
            "%s: cannot listen on %s: sockd itself still listens on %s; reload without that first, "
            "or restart",
            service->name, place, other);
    failed(o, -EADDRINUSE);
    return true;
}

/* What the administrator can do about it. */
static const char *advice(const struct listen_name *name, int error)
{
    switch (error) {
    case EADDRINUSE:
        return name->path[0] ? "; another process answers on it"
               : name->transport == TRANSPORT_UDP
                   ? "; another program has this port, as a server or as a client (see ss -uanp)"
                   : "; another program has this port, as a listener or for a connection (see ss -tanp)";
    case EACCES:
        return !name->path[0] && name->addr.port < 1024 ? "; a port below 1024 needs CAP_NET_BIND_SERVICE"
                                                        : "";
    case EADDRNOTAVAIL:
        return "; no interface of this machine has this address";
    case EEXIST:
        return "; it is not a socket, and is left alone";
    case ENOENT:
        return "; the directory must exist";
    default:
        return "";
    }
}

/* An IPv6 address that every machine with IPv6 has. */
static bool is_standard_ipv6(const struct listen_name *name)
{
    return !name->path[0] && name->addr.family == AF_INET6 &&
           (addr_is_loopback(&name->addr) || addr_is_any(&name->addr));
}

/* The system lets us not have the mode or the group that SERVICE wants for its file. */
static void complain_file(struct opening *o, const struct listen_name *name, const struct service *service)
{
    char place[LISTEN_PLACE_MAX];

    listen_place(place, name);
    if (service->group && !sockfile_may_give(service->gid))
        complaints_add(o->complaints, true,
                       "%s: cannot give %s to group \"%s\": the user of the daemon must be in that group "
                       "(SupplementaryGroups=%s in a drop-in of the unit), or be root",
                       service->name, place, service->group, service->group);
    else
        complaints_add(o->complaints, true,
                       "%s: cannot set the mode and the group of %s: the file belongs to another user",
                       service->name, place);
    failed(o, -EINVAL);
}

/* Opens a new listener. 1 when this machine lacks the address family, which was noticed. */
static int open_new(struct opening *o, const struct listen_name *name, const struct service *service)
{
    struct sockfile_id id = { 0 };
    char place[LISTEN_PLACE_MAX];

    int fd = listen_socket_open(name, service, &id);
    if (fd == -EAFNOSUPPORT || (fd == -EADDRNOTAVAIL && is_standard_ipv6(name))) {
        complaints_notice(o->complaints, "%s: %s is left out: this machine has no %s", service->name,
                          listen_place(place, name),
                          !name->path[0] && name->addr.family == AF_INET6 ? "IPv6" : "such sockets");
        return 1;
    }
    if (fd == -EPERM && service->group && !sockfile_may_give(service->gid)) {
        complain_file(o, name, service);
        return 0;
    }
    if (fd == -EADDRINUSE && complain_own(o, name, service))
        return 0;
    if (fd < 0) {
        complaints_add(o->complaints, true, "%s: cannot listen on %s: %s%s", service->name,
                       listen_place(place, name), strerror(-fd), advice(name, -fd));
        failed(o, fd);
        return 0;
    }
    struct listener *l = listen_add(o->ls, fd, name);
    if (!l) {
        if (name->path[0])
            sockfile_remove(name->path, &id);
        fd_close(&fd);
        failed(o, -ENOMEM);
        return 0;
    }
    l->id = id;
    use(o, l, service);
    return 0;
}

static int use_or_open(struct opening *o, const struct listen_name *name, const struct service *service)
{
    char place[LISTEN_PLACE_MAX];
    struct listener *l = listen_find(o->ls, name);

    if (!l)
        return open_new(o, name, service);
    const struct service *other = user_of(&o->set, l);
    if (other) {
        complaints_add(o->complaints, true, "%s: cannot listen on %s: service %s does already", service->name,
                       listen_place(place, name), other->name);
        failed(o, -EADDRINUSE);
        return 0;
    }
    if (!l->inherited && listen_socket_check(name, service, &l->id) == -EPERM)
        complain_file(o, name, service);
    else
        use(o, l, service);
    return 0;
}

/* A service that inherited sockets uses these and no others. True when it did. */
static bool use_inherited(struct opening *o, const struct wants *wants, const struct service *service)
{
    char place[LISTEN_PLACE_MAX];
    bool any = false;

    list_for_each (it, &o->ls->all) {
        struct listener *l = container_of(it, struct listener, link);
        if (!l->inherited || strcmp(l->inherited, service->name) != 0)
            continue;
        any = true;
        struct listen_name name = name_of(l);
        if (wants_have(wants, &name)) {
            use(o, l, service);
            continue;
        }
        complaints_add(
            o->complaints, true,
            "%s: the socket that systemd handed over, %s, is none of those that the configuration names",
            service->name, listen_place(place, &name));
        failed(o, -EINVAL);
    }
    return any;
}

static void open_service(struct opening *o, const struct service *service)
{
    struct wants wants = { 0 };
    size_t lacking = 0;

    int r = wants_add(&wants, service, o->names, o->complaints);
    if (r < 0)
        failed(o, r);
    else if (!use_inherited(o, &wants, service)) {
        for (size_t i = 0; i < wants.len; i++)
            lacking += (size_t)use_or_open(o, &wants.item[i], service);
        if (lacking > 0 && lacking == wants.len) {
            complaints_add(o->complaints, true, "%s: cannot listen: this machine has none of its addresses",
                           service->name);
            failed(o, -EAFNOSUPPORT);
        }
    }
    wants_done(&wants);
}

/* 0, or the first failure after giving all back. */
static int open_all(struct opening *o, const struct conf *conf)
{
    for (size_t i = 0; i < conf->n_services; i++)
        if (conf->services[i].enabled)
            open_service(o, &conf->services[i]);
    if (o->result < 0)
        listen_release(&o->set);
    return o->result;
}

int listen_open(struct listeners *ls, const struct conf *conf, const struct names *names,
                struct complaints *complaints, struct listen_set *ret)
{
    struct names own = { 0 };
    struct opening o = { .ls = ls, .names = names ? names : &own, .complaints = complaints };

    int r = names ? 0 : names_look_up(conf, &own);
    if (r == 0)
        r = open_all(&o, conf);
    names_done(&own);
    if (r == 0)
        *ret = o.set;
    else if (complaints->n_fatal == 0)
        complaints_add(complaints, true, "cannot open the listeners: %s", strerror(-r));
    return r;
}

void listen_apply(const struct listen_set *set, struct complaints *complaints)
{
    char place[LISTEN_PLACE_MAX];

    for (size_t i = 0; i < set->len; i++) {
        const struct listener *l = set->item[i];
        struct listen_name name = name_of(l);
        int r = listen_socket_apply(l->fd, &name, set->service[i], l->inherited ? NULL : &l->id);
        if (r < 0)
            complaints_add(complaints, false, "%s: mode and group of %s are not as configured: %s",
                           set->service[i]->name, listen_place(place, &name),
                           r == -ESTALE ? "another file has its name" : strerror(-r));
    }
}

static struct listener *copy_of(const struct listener *l)
{
    struct listen_name name = name_of(l);
    int fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 3);
    struct listener *copy = fd < 0 ? NULL : listener_new(fd, &name);

    if (!copy) {
        fd_close(&fd);
        return NULL;
    }
    copy->refs = 1;
    copy->inherited = l->inherited ? strdup(l->inherited) : NULL;
    copy->store_name = l->store_name ? strdup(l->store_name) : NULL;
    return copy;
}

int listen_copy(const struct listen_set *set, struct listen_set *ret)
{
    struct listen_set copies = {
        .item = calloc(set->len + 1, sizeof(struct listener *)),
        .service = calloc(set->len + 1, sizeof(struct service *)),
    };
    int r = copies.item && copies.service ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < set->len; i++) {
        copies.item[i] = copy_of(set->item[i]);
        copies.service[i] = set->service[i];
        if (copies.item[i])
            copies.len++;
        else
            r = -EMFILE;
    }
    if (r < 0)
        listen_release(&copies);
    else
        *ret = copies;
    return r;
}

void listen_release(struct listen_set *set)
{
    for (size_t i = 0; i < set->len; i++) {
        assert(set->item[i]->refs > 0);
        if (--set->item[i]->refs == 0)
            listener_free(set->item[i]);
    }
    free(set->item);
    free(set->service);
    *set = (struct listen_set){ 0 };
}

int listen_close_others(const struct listen_set *set, const int *also, size_t n)
{
    int *keep = calloc(set->len + n, sizeof(*keep));

    if (!keep)
        return -ENOMEM;
    for (size_t i = 0; i < set->len; i++)
        keep[i] = set->item[i]->fd;
    memcpy(keep + set->len, also, n * sizeof(*also));
    fd_close_others(keep, set->len + n);
    free(keep);
    return 0;
}
