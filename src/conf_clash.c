/*
 * What two services are both to listen on, by the words of the configuration alone. On Linux a socket of one
 * address and one of every address exclude each other on a port, those of the two families do not, since each
 * has sockets of its own (IPV6_V6ONLY).
 */
#include "conf_clash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* What a host stands for, as far as its text says. */
struct reach {
    bool every4, every6; /* every address of the family */
    struct addr addr;    /* this one; AF_UNSPEC: not known */
};

static const char *host_key(const char *host)
{
    return host[0] ? host : "*";
}

static struct reach reach_of(const char *host)
{
    struct reach reach = { .every4 = false };
    struct net net;

    if (strcmp(host_key(host), "*") == 0)
        reach.every4 = reach.every6 = true;
    else if (!strchr(host, '/') && net_parse(host, &net) == 0) {
        bool every = addr_is_any(&net.base);
        reach.every4 = every && net.base.family == AF_INET;
        reach.every6 = every && net.base.family == AF_INET6;
        reach.addr = net.base;
    }
    return reach;
}

static bool is_wide(const struct reach *r)
{
    return r->every4 || r->every6;
}

/* ONE, which is not wide, is an address that WIDE has too. Every name is one of "*". */
static bool covers(const struct reach *wide, const struct reach *one)
{
    switch (one->addr.family) {
    case AF_INET:
        return wide->every4;
    case AF_INET6:
        return wide->every6;
    default:
        return wide->every4 && wide->every6;
    }
}

/* Within one service an address that is named twice is one socket. */
static bool hosts_clash(const char *a, const char *b, bool one_service)
{
    struct reach ra = reach_of(a), rb = reach_of(b);

    if (is_wide(&ra) != is_wide(&rb))
        return is_wide(&ra) ? covers(&ra, &rb) : covers(&rb, &ra);
    if (one_service)
        return false;
    if (is_wide(&ra))
        return (ra.every4 && rb.every4) || (ra.every6 && rb.every6);
    return ra.addr.family != AF_UNSPEC && addr_equal(&ra.addr, &rb.addr);
}

/* The first host of B that A is in the way of; NULL: none. */
static const char *common_host(const struct service *a, const struct service *b, const char **ret_host)
{
    for (size_t i = 0; i < a->host.len; i++)
        for (size_t j = a == b ? i + 1 : 0; j < b->host.len; j++) {
            const char *one = host_key(a->host.item[i]), *other = host_key(b->host.item[j]);
            bool same = strcasecmp(one, other) == 0;
            if (!same && !hosts_clash(one, other, a == b))
                continue;
            *ret_host = same ? NULL : one;
            return same ? one : other;
        }
    return NULL;
}

static bool has_path(const struct service *s)
{
    return s->path && (s->transports & TRANSPORTS_LOCAL);
}

/* "//" and "/./" are as "/". */
static const char *last_slash(const char *p)
{
    while (p[0] == '/' && (p[1] == '/' || (p[1] == '.' && p[2] == '/')))
        p += p[1] == '/' ? 1 : 2;
    return p;
}

static bool same_path(const char *a, const char *b)
{
    if (a[0] == '@' || b[0] == '@')
        return strcmp(a, b) == 0;
    do {
        a = last_slash(a);
        b = last_slash(b);
        if (*a != *b)
            return false;
        b++;
    } while (*a++);
    return true;
}

bool conf_clash(const struct service *a, const struct service *b, char *buf, size_t size,
                const char **ret_host)
{
    uint32_t both = a->transports & b->transports;
    uint32_t internet = both & TRANSPORTS_INTERNET;
    const char *host = internet && a->port && a->port == b->port ? common_host(a, b, ret_host) : NULL;

    if (host) {
        snprintf(buf, size, "%s %s port %" PRIu32, internet & 1u << TRANSPORT_TCP ? "tcp" : "udp", host,
                 a->port);
        return true;
    }
    if (a != b && has_path(a) && has_path(b) && same_path(a->path, b->path)) {
        snprintf(buf, size, "%s", b->path);
        *ret_host = NULL;
        return true;
    }
    return false;
}
