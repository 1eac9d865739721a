/*
 * What a service wants to listen on: its hosts, ports and paths as addresses. For listen.c; runs in the
 * master.
 */
#ifndef SOCKD_LISTEN_WANT_H
#define SOCKD_LISTEN_WANT_H

#include "listen_socket.h"
#include "names.h"

struct wants {
    struct listen_name *item; /* owns; no two are equal */
    size_t len, cap;
};

/* Adds what SERVICE wants to *W. 0; -EADDRNOTAVAIL with a complaint when a host could not be looked up;
 * -ENAMETOOLONG, -ENOMEM. */
int wants_add(struct wants *w, const struct service *service, const struct names *names,
              struct complaints *complaints);
bool wants_have(const struct wants *w, const struct listen_name *name);
void wants_done(struct wants *w);

/* "127.0.0.1 port 50000", "127.0.0.1 port 53 (udp)", "unix /run/x.sock": as a sentence names it. Returns BUF.
 */
#define LISTEN_PLACE_MAX 160
char *listen_place(char buf[LISTEN_PLACE_MAX], const struct listen_name *name);

#endif
