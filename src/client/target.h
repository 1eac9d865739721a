/*
 * Whom a client talks to, and in which framing: from the command line, a configured service, or the defaults.
 * Looks names up and connects, blocking, within a limit of time.
 */
#ifndef SOCKD_CLIENT_TARGET_H
#define SOCKD_CLIENT_TARGET_H

#include "client/options.h"
#include "frame.h"

#include <stdbool.h>
#include <stdint.h>

struct target {
    char host[256], port[32];
    char path[108]; /* not empty: a Unix socket, and host and port mean nothing */
    bool datagrams;
    int family; /* AF_UNSPEC, AF_INET or AF_INET6 */
    struct framing framing;
    uint64_t timeout_ms; /* 0: no limit */
};

/* What is said on the command line wins over the service of -s, and that over the defaults. 0, or an exit
 * status after saying why. */
int target_init(struct target *ret, const struct options *o);

/* The longest text of target_print with its NUL. */
#define TARGET_TEXT_MAX 320
/* For messages: "localhost port 50000", or the path. Returns BUF. */
char *target_print(char buf[TARGET_TEXT_MAX], const struct target *t);
/* For a prompt: "localhost:50000". Returns BUF. */
char *target_print_short(char buf[TARGET_TEXT_MAX], const struct target *t);

/*
 * A connected, non-blocking socket. All addresses of the host are tried in turn, each for its share of the
 * time that is left. -1 after saying why.
 */
int target_connect(const struct target *t);

/* Connects FD within LIMIT_MS (-1: no limit). 0 or -errno. */
int target_connect_fd(int fd, const void *address, unsigned address_len, int limit_ms);

#endif
