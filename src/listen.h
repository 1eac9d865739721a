/*
 * Listening sockets and datagram sockets, as the master opens, inherits, keeps and closes them.
 *
 * A listener is known by its transport and address; one that stays over a reload stays the same socket.
 * Nothing here logs: what the administrator must know goes to the list of complaints. Runs in the master.
 */
#ifndef SOCKD_LISTEN_H
#define SOCKD_LISTEN_H

#include "base/addr.h"
#include "base/list.h"
#include "base/sockfile.h"
#include "conf.h"
#include "names.h"

/* Whether the service manager keeps a socket for the next start. */
enum listen_store {
    LISTEN_NOT_STORED,
    LISTEN_TO_STORE, /* in use; still to be handed over */
    LISTEN_STORED,
};

struct listener {
    struct list link;
    unsigned refs; /* generations that use it */
    int fd;        /* owns */
    enum transport transport;
    struct addr addr;      /* tcp and udp */
    char *path;            /* owns; unix and unixgram, as configured; NULL otherwise */
    struct sockfile_id id; /* of the socket file that we made */
    char *inherited;  /* owns; from systemd: the name of the service it is for, and its file is not ours to
                         remove; else NULL */
    char *store_name; /* owns; "sockd-SERVICE-N": it is kept over a restart, and so is its file; NULL: it is
                         not */
    enum listen_store store;
    bool obstructs; /* kept over a restart, and in the way of what the configuration wants */
    uint32_t drops; /* datagrams that the kernel dropped, as last looked */
};

/* How many datagrams the kernel dropped since the last look. */
uint32_t listener_look_drops(struct listener *l);

/* Text for messages: "tcp 127.0.0.1:50000", "unix /run/x.sock". Returns BUF. */
#define LISTENER_TEXT_MAX 144
char *listener_print(char buf[LISTENER_TEXT_MAX], const struct listener *l);

/* All listeners the master holds. */
struct listeners {
    struct list all;
    size_t store_max;           /* how many of them the service manager keeps over a restart */
    struct sockfile_id control; /* the file of the control socket, which no service can have */
};

void listeners_init(struct listeners *ls);
void listeners_done(struct listeners *ls);

/* The use of listeners by one generation. */
struct listen_set {
    struct listener **item;         /* owns the array and a reference to each */
    const struct service **service; /* owns the array; whose each is in this generation's configuration */
    size_t len;
};

/*
 * Finds or opens every listener that CONF wants. All are tried and every failure goes to COMPLAINTS. On
 * failure -EADDRINUSE or the like (the first one), what was newly opened is closed again, and *RET stays
 * untouched; -EINVAL when the configuration asks for what we may not do. Kept listeners are not changed.
 * NAMES: of the hosts of CONF; NULL: they are looked up now, which blocks.
 */
int listen_open(struct listeners *ls, const struct conf *conf, const struct names *names,
                struct complaints *complaints, struct listen_set *ret);

/* The set is in use now: kept listeners get its backlog, mode and group. What fails is a warning in
 * COMPLAINTS. */
void listen_apply(const struct listen_set *set, struct complaints *complaints);

/*
 * A set of copies of descriptors, for a worker inside this process: one loop cannot wait twice for one
 * descriptor. It has no hold on the listeners, and is given back with listen_release. 0 or -errno.
 */
int listen_copy(const struct listen_set *set, struct listen_set *ret);

/*
 * Gives the references back; a listener that nobody uses any more is closed and its file removed if it is
 * still ours. The set is empty after it. Closing an empty set is fine.
 */
void listen_release(struct listen_set *set);

/*
 * In a child: closes every descriptor but the standard ones, those of SET, and the N in ALSO (-1 is ignored).
 * 0 or -ENOMEM, and then nothing was closed.
 */
int listen_close_others(const struct listen_set *set, const int *also, size_t n);

/* Forgets that a listener is kept over a restart, and closes it if no generation uses it. */
void listen_forget(struct listener *l);

/*
 * Takes the N sockets with these NAMES, descriptors from 3 up: each becomes an inherited listener of the
 * service of its name. 0, or -EINVAL with complaints. Called once, before the first listen_open, which then
 * binds nothing for a service that inherited one. Those of the name "sockd-SERVICE-N" we bound ourselves
 * before a restart: listen_open finds them by their address, as if they had never been away.
 */
int listen_inherit(struct listeners *ls, const struct conf *conf, char *const *names, size_t n,
                   struct complaints *complaints);

/*
 * A listener that the program before us left, FD, of the PATH and with the names that it had there, each NULL
 * when there was none. Owns FD when it comes back; NULL when FD is no such socket, or without memory.
 */
struct listener *listen_adopt(struct listeners *ls, int fd, const char *path, const char *inherited,
                              const char *store_name);

/* For listen_inherit.c only. */

/* How the names of sockets begin that the service manager keeps for us. */
#define LISTEN_STORE_PREFIX "sockd-"

struct listen_name;
/* A new listener that nobody uses yet; owns FD from then on. NULL without memory. */
struct listener *listen_add(struct listeners *ls, int fd, const struct listen_name *name);
struct listener *listen_find(const struct listeners *ls, const struct listen_name *name);

#endif
