/* From the keys host, port, path and transport to addresses. */
#include "listen_want.h"

#include "base/text.h"
#include "complaints.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *listen_place(char buf[LISTEN_PLACE_MAX], const struct listen_name *name)
{
    char host[ADDR_TEXT_MAX];

    if (name->path[0])
        snprintf(buf, LISTEN_PLACE_MAX, "%s %s", transport_words[name->transport], name->path);
    else
        snprintf(buf, LISTEN_PLACE_MAX, "%s port %u%s", addr_print_host(host, &name->addr), name->addr.port,
                 name->transport == TRANSPORT_UDP ? " (udp)" : "");
    return buf;
}

bool wants_have(const struct wants *w, const struct listen_name *name)
{
    for (size_t i = 0; i < w->len; i++)
        if (listen_name_equal(&w->item[i], name))
            return true;
    return false;
}

static int add(struct wants *w, const struct listen_name *name)
{
    if (wants_have(w, name))
        return 0;
    if (w->len == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 8;
        struct listen_name *item = reallocarray(w->item, cap, sizeof(*item));
        if (!item)
            return -ENOMEM;
        w->item = item;
        w->cap = cap;
    }
    w->item[w->len++] = *name;
    return 0;
}

void wants_done(struct wants *w)
{
    free(w->item);
    *w = (struct wants){ 0 };
}

static int add_host(struct wants *w, const struct service *service, enum transport transport,
                    const struct name *host, struct complaints *complaints)
{
    struct listen_name name = { .transport = transport };
    char safe[256];
    int r = 0;

    if (host->error != 0) {
        text_escape(safe, sizeof(safe), host->host, strlen(host->host));
        complaints_add(complaints, true, "%s: cannot look up host \"%s\": %s", service->name, safe,
                       host->error == EAI_SYSTEM ? strerror(host->system_error) : gai_strerror(host->error));
        return -EADDRNOTAVAIL;
    }
    for (size_t i = 0; r == 0 && i < host->n_addrs; i++) {
        name.addr = host->addrs[i];
        name.addr.port = (uint16_t)service->port;
        r = add(w, &name);
    }
    return r;
}

static int add_path(struct wants *w, const struct service *service, enum transport transport,
                    struct complaints *complaints)
{
    struct listen_name name = { .transport = transport };
    struct sockaddr_un sa;

    int r = sockfile_address(service->path, &sa);
    if (r < 0) {
        complaints_add(complaints, true, "%s: cannot listen on %s %s: %s", service->name,
                       transport_words[transport], service->path, strerror(-r));
        return r;
    }
    strncpy(name.path, service->path, sizeof(name.path) - 1);
    return add(w, &name);
}

int wants_add(struct wants *w, const struct service *service, const struct names *names,
              struct complaints *complaints)
{
    int result = 0;

    for (int t = 0; t < TRANSPORT_COUNT; t++) {
        enum transport transport = (enum transport)t;
        if (!(service->transports & 1u << t))
            continue;
        if (transport == TRANSPORT_UNIX || transport == TRANSPORT_UNIXGRAM) {
            int r = add_path(w, service, transport, complaints);
            result = result ? result : r;
            continue;
        }
        for (size_t i = 0; i < service->host.len; i++) {
            const struct name *host = names_find(names, service->host.item[i]);
            int r = host ? add_host(w, service, transport, host, complaints) : -EADDRNOTAVAIL;
            result = result ? result : r;
        }
    }
    return result;
}
